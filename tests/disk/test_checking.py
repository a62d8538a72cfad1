from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import checking, growing, redo_log, tools, transaction
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.checking import CheckRoom, Readable, Skeletons
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats import FORMATS
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import FilesystemError, OverlayError, ToolError
from bangerbuild.host import process
from bangerbuild.tree import ALONE
from tests.disk.damage import bitmap_of, command_debugfs, flip, leave_in_journal, place_of
from tests.disk.ext4_tools import assert_clean, change_superblock, clone, debugfs, make_ext4, merge
from tests.disk.growths import PLAIN, grow_killed
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EPOCH = 946_684_800


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A private directory for copies."""
    (tmp_path / "room").mkdir()
    return tmp_path / "room"


@pytest.fixture
def filled(disk: Path) -> Path:
    """A disk with a file on it."""
    write(disk, "/f", b"old")
    return disk


def write(disk: Path, guest: str, content: bytes) -> None:
    with RawFile(disk, writable=True) as blocks, Filesystem(blocks, writable=True, now=EPOCH) as filesystem:
        filesystem.write_file(guest, content)


def over(base: Path, cow: Path, guest: str, content: bytes) -> Path:
    """A store over a base, in which one file was written."""
    with (
        RawFile(base) as under,
        SnapshotStore.create(under, cow) as store,
        Filesystem(store, writable=True, now=EPOCH) as filesystem,
    ):
        filesystem.write_file(guest, content)
    return cow


def readable(disk: Path, room: Path, base: Path | None = None) -> Path:
    """The raw file, with the certainty that nothing was touched."""
    return whole(disk, room, base).path


def whole(disk: Path, room: Path, base: Path | None = None) -> Readable:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (disk, *disk.parent.glob("*.*"))}
    (room / "skeletons").mkdir(exist_ok=True)
    skeletons = Skeletons(room / "skeletons")
    try:
        disk_format = FORMATS["raw" if base is None else "snapshot"]
        stored = StoredDisk(disk, "vms/web/disk", Base(base, "images/rootfs.ext4") if base else None)
        return disk_format.check(stored, CheckRoom(room, skeletons, EPOCH))
    finally:
        after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}
        assert after == before


def content(disk: Readable, guest: str) -> bytes | None:
    """What our own reader finds in it."""
    with disk.opened_filesystem(ALONE) as filesystem:
        return filesystem.read(guest)


def test_a_raw_disk_in_order_is_read_where_it_lies(filled: Path, room: Path) -> None:
    disk = whole(filled, room)
    assert disk.path == filled
    assert content(disk, "/f") == b"old"
    assert [path.name for path in room.rglob("*")] == ["skeletons"]


def test_of_a_store_e2fsck_gets_all_that_it_reads_and_nothing_else(filled: Path, room: Path) -> None:
    write(filled, "/large", os.urandom(16 << 20))
    cow = over(filled, filled.with_name("root.cow"), "/d/g", b"of the store")
    disk = whole(cow, room, filled)
    assert_clean(disk.path)
    assert debugfs(disk.path, "cat /d/g") == b"of the store"
    assert disk.content is not None
    assert disk.path.stat().st_blocks * 512 < 8 << 20
    with RawFile(filled) as base, SnapshotStore(base, cow) as store:
        reference = merge(filled, store, room / "reference")
    for request in ("stats", "ls -p /", "ls -p /d", "stat /large", "stat /d/g", "logdump -S"):
        assert debugfs(disk.path, request) == debugfs(reference, request)


def test_what_is_in_the_files_of_a_store_comes_from_store_and_base(filled: Path, room: Path) -> None:
    cow = over(filled, filled.with_name("root.cow"), "/g", b"of the store")
    disk = whole(cow, room, filled)
    assert (content(disk, "/f"), content(disk, "/g")) == (b"old", b"of the store")


def test_damage_in_a_store_is_found_with_the_metadata_of_its_base_alone(filled: Path, room: Path) -> None:
    cow = over(filled, filled.with_name("root.cow"), "/g", b"x")
    with RawFile(filled) as base, SnapshotStore(base, cow, writable=True) as store:
        at = bitmap_of(filled)
        store.write(at, bytes([store.read(at, 1)[0] ^ 0xFF]))
        store.commit()
    assert checking.errors_in(readable(cow, room, filled))


def test_the_metadata_of_a_base_is_copied_once(filled: Path, room: Path) -> None:
    skeletons = Skeletons(room)
    with ThreadPoolExecutor(4) as pool:
        (skeleton,) = set(pool.map(skeletons.of, [filled] * 8))
    assert skeleton != filled
    assert list(room.iterdir()) == [skeleton]


def test_of_a_damaged_base_everything_is_taken(filled: Path, room: Path) -> None:
    cow = over(filled, filled.with_name("root.cow"), "/g", b"of the store")
    flip(filled, bitmap_of(filled))
    disk = whole(cow, room, filled)
    assert disk.content is None
    assert debugfs(disk.path, "cat /f") == b"old"
    assert list((room / "skeletons").iterdir()) == []


@pytest.mark.parametrize(
    "feature", ["ea_inode", "orphan_file", "quota", "casefold", "bigalloc", "^has_journal"]
)
def test_a_base_of_any_feature_is_as_clean_in_the_copy_as_it_is(
    room: Path, tmp_path: Path, feature: str
) -> None:
    base = make_ext4(tmp_path / "base.ext4", "-O", feature)
    (tmp_path / "f").write_bytes(b"old")
    (tmp_path / "value").write_bytes(os.urandom(20_000))
    command_debugfs(base, f"write {tmp_path / 'f'} f")
    command_debugfs(base, f"ea_set -f {tmp_path / 'value'} /f user.large")
    subprocess.run([need("e2fsck"), "-fy", base], check=False, capture_output=True)  # debugfs counts wrong
    assert_clean(base)
    cow = tmp_path / "root.cow"
    with RawFile(base) as under:
        SnapshotStore.create(under, cow).close()
    disk = whole(cow, room, base)
    assert checking.errors_in(disk.path) == ()
    assert content(disk, "/f") == b"old"


def test_a_journal_is_replayed_in_a_copy(filled: Path, room: Path) -> None:
    leave_in_journal(filled, "/f", b"new")
    raw = readable(filled, room)
    assert raw.parent == room
    assert_clean(raw)
    assert debugfs(raw, "cat /f") == b"new"
    assert debugfs(filled, "cat /f") == b"old"


def test_the_journal_in_a_store_is_replayed_in_a_copy(filled: Path, room: Path) -> None:
    cow = over(filled, filled.with_name("root.cow"), "/g", b"old")
    with RawFile(filled) as base, SnapshotStore(base, cow, writable=True) as store:
        guest = merge(filled, store, room / "guest.ext4")
        leave_in_journal(guest, "/g", b"new")
        content = guest.read_bytes()
        for at in range(0, len(content), 4096):
            if content[at : at + 4096] != store.read(at, 4096):
                store.write(at, content[at : at + 4096])
        store.commit()
        guest.unlink()
    raw = readable(cow, room, filled)
    assert_clean(raw)
    assert debugfs(raw, "cat /g") == b"new"


def test_a_damaged_journal_is_not_thrown_away_without_a_word(filled: Path, room: Path) -> None:
    """As `e2fsck -p` would, which then calls the filesystem clean."""
    leave_in_journal(filled, "/f", b"new")
    journal = int(debugfs(filled, "bmap <8> 0"))
    with filled.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(4096), journal * 4096)
    with pytest.raises(FilesystemError) as caught:
        readable(filled, room)
    assert caught.value.brief == (
        "the journal of 'vms/web/disk' does not put it in order: Superblock has an invalid journal (inode 8)."
    )


def test_orphans_are_cleared_in_a_copy(filled: Path, room: Path) -> None:
    inode = debugfs(filled, "stat /f").split(b"Inode: ")[1].split()[0].decode()
    for request in (f"set_super_value last_orphan {inode}", "sif /f links_count 0", "unlink /f"):
        command_debugfs(filled, request)
    raw = readable(filled, room)
    assert raw != filled
    assert_clean(raw)


def patch_raw(disk: Path) -> None:
    with Transaction(disk, "disk") as blocks:
        blocks.write(place_of(disk, "/f"), b"new")
        blocks.flush()


def patch_store(base: Path, cow: Path) -> None:
    with RawFile(base) as under, Transaction(cow, "root") as file:
        store = SnapshotStore(under, file)
        with Filesystem(store, writable=True, now=EPOCH) as filesystem:
            filesystem.write_file("/g", b"new")


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Transactions end when their log is sealed."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transaction.Transaction, "_write_or_restore", killed)
        yield


def test_a_half_patched_disk_is_read_as_it_will_be(filled: Path, room: Path, dying: None) -> None:
    with pytest.raises(KeyboardInterrupt):
        patch_raw(filled)
    assert redo_log.path_beside(filled).exists()
    raw = readable(filled, room)
    assert debugfs(raw, "cat /f") == b"new"
    assert debugfs(filled, "cat /f") == b"old"


def test_a_half_patched_store_is_read_as_it_will_be(filled: Path, room: Path, dying: None) -> None:
    cow = over(filled, filled.with_name("root.cow"), "/g", b"old")
    with pytest.raises(KeyboardInterrupt):
        patch_store(filled, cow)
    raw = readable(cow, room, filled)
    assert_clean(raw)
    assert debugfs(raw, "cat /g") == b"new"


def test_a_half_grown_disk_is_read_as_it_was(filled: Path, room: Path) -> None:
    size_bytes = filled.stat().st_size
    assert grow_killed(filled, PLAIN, 20)
    raw = readable(filled, room)
    assert_clean(raw)
    assert raw.stat().st_size == size_bytes
    assert debugfs(raw, "cat /f") == b"old"


def test_a_disk_that_was_grown_but_for_the_end_of_its_note_is_read_as_it_is(
    filled: Path, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    size_bytes = filled.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(growing, "_forget", killed)
        with pytest.raises(KeyboardInterrupt):
            growing.grow(filled, "filled.ext4", 2 * size_bytes, epoch=EPOCH)
    raw = readable(filled, room)
    assert_clean(raw)
    assert raw.stat().st_size == 2 * size_bytes
    assert debugfs(raw, "cat /f") == b"old"


def test_no_filesystem_is_named_by_what_the_user_knows(filled: Path, room: Path) -> None:
    with filled.open("r+b") as file:
        file.truncate(0)
        file.truncate(1 << 20)
    with pytest.raises(FilesystemError, match="'vms/web/disk' holds no ext4 filesystem"):
        readable(filled, room)


def test_a_disk_marked_as_having_errors_is_refused_with_the_command_to_run(filled: Path, room: Path) -> None:
    change_superblock(filled, state=2)
    with pytest.raises(FilesystemError, match="is marked as having errors") as caught:
        readable(filled, room)
    assert caught.value.hint == f"e2fsck -f '{filled}'"


def test_a_disk_that_was_cut_short_is_refused(filled: Path, room: Path) -> None:
    os.truncate(filled, filled.stat().st_size // 2)
    with pytest.raises(FilesystemError, match="is cut short"):
        readable(filled, room)


def test_a_store_without_a_header_is_refused(filled: Path, room: Path) -> None:
    cow = over(filled, filled.with_name("root.cow"), "/g", b"x")
    flip(cow, 0)
    with pytest.raises(OverlayError, match="'vms/web/disk' is no dm-snapshot store"):
        readable(cow, room, filled)


def test_a_filesystem_in_order_has_no_errors(filled: Path) -> None:
    assert checking.errors_in(filled) == ()


def test_what_e2fsck_finds_comes_first_and_its_chatter_not_at_all(filled: Path) -> None:
    flip(filled, bitmap_of(filled))
    first, *_ = checking.errors_in(filled)
    assert "itmap" in first or "locks" in first
    for line in checking.errors_in(filled):
        assert line
        assert str(filled) not in line
        assert not line.startswith("Pass")
        assert "? no" not in line


def test_what_e2fsck_would_do_about_it_is_not_said(filled: Path) -> None:
    command_debugfs(filled, "sif /f blocks 16")
    (first, *_) = checking.errors_in(filled)
    assert re.fullmatch(r"Inode \d+, i_blocks is 16, should be 8\.", first)


def test_a_superblock_that_is_gone_is_an_error_although_e2fsck_has_another(filled: Path, room: Path) -> None:
    with filled.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(1024), 1024)
    with pytest.raises(FilesystemError, match="holds no ext4"):
        readable(filled, room)


def test_names_of_a_guest_do_not_speak_to_the_terminal(filled: Path) -> None:
    write(filled, "/\x1b[31mred", b"x")
    inode = debugfs(filled, "stat \x1b[31mred").split(b"Inode: ")[1].split()[0].decode()
    command_debugfs(filled, f"clri <{inode}>")
    found = checking.errors_in(filled)
    assert any("red" in line for line in found)
    assert not any("\x1b" in line for line in found)


@pytest.fixture
def endless_e2fsck(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An e2fsck that does not end, and has no time to; the real one may be faster than any limit."""
    path = tmp_path_factory.mktemp("tools") / "e2fsck"
    path.write_text("#!/bin/sh\nexec sleep 100000\n")
    path.chmod(0o755)
    find = process.find
    monkeypatch.setattr(process, "find", lambda name: str(path) if name == "e2fsck" else find(name))
    monkeypatch.setattr(tools, "E2FSCK_SECONDS", 0)


def test_e2fsck_has_a_limit_of_time(filled: Path, endless_e2fsck: None) -> None:
    with pytest.raises(ToolError, match="did not end within"):
        checking.errors_in(filled)


def test_so_has_the_replay_of_a_journal(filled: Path, room: Path, endless_e2fsck: None) -> None:
    leave_in_journal(filled, "/f", b"new")
    with pytest.raises(FilesystemError, match="did not end within"):
        readable(filled, room)


def test_no_room_for_a_copy_is_an_error_of_the_host(filled: Path, room: Path) -> None:
    leave_in_journal(filled, "/f", b"new")
    (room / filled.name).touch()
    with pytest.raises(FileExistsError):
        readable(filled, room)


def test_a_copy_is_as_sparse_as_the_disk(filled: Path, room: Path) -> None:
    reference = room / "reference"
    clone(filled, reference)
    leave_in_journal(filled, "/f", b"new")
    assert readable(filled, room).stat().st_blocks <= reference.stat().st_blocks + 256
