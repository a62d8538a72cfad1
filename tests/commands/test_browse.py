from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.commands import browse
from bangerbuild.disk import formats
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import BangerError, BusyError, FilesystemError, GuestPathError, UsageError
from bangerbuild.model import Recipe, Record
from bangerbuild.store import Staged
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import change_superblock, debugfs, make_ext4
from tests.disk.filesystems import make_node
from tests.disk.journals import Log, blocks_of
from tests.disk.overlayfs.joined import joined, make_upper
from tests.stores import held

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE = "images/debian/f/rootfs.ext4"
COW = "vms/web/root.cow"
UPPER = "vms/web/root.upper.ext4"
NOW = 946_684_800


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 with an entry of every type, not to be written."""
    path = make_ext4(tmp_path_factory.mktemp("furnished") / "disk.ext4", size="16M")
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        disk.make_directory("/etc", mode=0o750, uid=1, gid=2)
        disk.write_file("/etc/hostname", b"web\n", mode=0o644)
        disk.write_file("/etc/zeros", bytes(3 << 20))
        disk.make_symlink("/etc/link", "hostname")
        disk.make_symlink("/etc/dangling", "/nowhere")
        disk.make_symlink("/etc/host", "/etc/passwd")
        disk.write_file(os.fsdecode(b"/etc/caf\xe9"), b"latin-1")
        make_node(disk, "/etc/null", EntryType.CHARACTER_DEVICE, mode=0o666, device=(1, 3))
    return path


@pytest.fixture
def raw(furnished: Path, tmp_path: Path) -> Path:
    return shutil.copyfile(furnished, tmp_path / "disk.ext4")


@pytest.fixture
def built(furnished: Path, tmp_path: Path) -> Path:
    """A store with an overlay whose record names its base."""
    path = tmp_path / "build"
    with store.writing(path, timeout_seconds=0) as opened:
        staging = opened.stage()
        base, cow = staging / "base", staging / "cow"
        shutil.copyfile(furnished, base)
        with (
            RawFile(base) as under,
            SnapshotStore.create(under, cow) as blocks,
            Filesystem(blocks, writable=True) as disk,
        ):
            disk.write_file("/etc/hostname", b"patched\n")
        recipe = Recipe("fake", {}, {}, {}, {})
        opened.publish(
            [
                Staged((Record("image.debian.rootfs", recipe, "f", (BASE,)),), {BASE: base}),
                Staged((Record("vm.web.root", recipe, "f", (COW,), {"base": BASE}),), {COW: cow}),
            ]
        )
    return path


def cat(disk: Path, guest: str, base: Path | None = None) -> bytes:
    with browse.opened_disk(disk, base, warn=unexpected) as filesystem:
        return b"".join(browse.content(filesystem, guest))


def ls(disk: Path, guest: str, *, in_full: bool = False) -> list[str]:
    with browse.opened_disk(disk, None, warn=unexpected) as filesystem:
        return list(browse.listing(filesystem, guest, in_full=in_full))


def unexpected(message: str) -> None:
    raise AssertionError(message)


def test_a_file_in_a_raw_disk_reads_as_debugfs_reads_it(raw: Path) -> None:
    assert cat(raw, "/etc/hostname") == debugfs(raw, "cat /etc/hostname") == b"web\n"
    assert cat(raw, "/etc/zeros") == bytes(3 << 20)


def test_a_symlink_to_a_file_is_followed_inside_the_guest(raw: Path) -> None:
    assert cat(raw, "/etc/link") == b"web\n"
    with pytest.raises(GuestPathError, match=r"'/etc/host' is not there"):
        cat(raw, "/etc/host")


def test_a_snapshot_is_read_through_to_the_base_that_its_record_names(built: Path) -> None:
    assert cat(built / COW, "/etc/hostname") == b"patched\n"
    assert cat(built / COW, "/etc/zeros") == bytes(3 << 20)


def test_a_snapshot_is_found_by_its_record_however_its_path_is_written(
    built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to(built / "vms")
    assert cat(tmp_path / "alias" / "web" / "root.cow", "/etc/hostname") == b"patched\n"
    monkeypatch.chdir(built / "vms" / "web")
    assert cat(type(built)("root.cow"), "/etc/hostname") == b"patched\n"


def test_a_snapshot_outside_any_store_needs_its_base_named(built: Path, tmp_path: Path) -> None:
    alone = shutil.copyfile(built / COW, tmp_path / "alone.cow")
    with pytest.raises(UsageError, match="no record says which base") as caught:
        cat(alone, "/etc/hostname")
    assert "--base" in str(caught.value.hint)
    assert cat(alone, "/etc/hostname", built / BASE) == b"patched\n"


def test_an_overlay_root_whose_guest_lost_its_mark_is_read_as_its_record_says(
    furnished: Path, tmp_path: Path
) -> None:
    path = tmp_path / "build"
    with store.writing(path, timeout_seconds=0) as opened:
        staging = opened.stage()
        base, disk = shutil.copyfile(furnished, staging / "base"), staging / "upper"
        make_upper(disk, base)
        with joined(base, disk, writable=True) as tree:
            tree.write_file("/etc/hostname", b"patched\n")
        with disk.open("r+b") as file:
            file.write(bytes(1024))
        recipe, facts = Recipe("fake", {}, {}, {}, {}), {"base": BASE, "format": "overlay"}
        opened.publish(
            [
                Staged((Record("image.debian.rootfs", recipe, "f", (BASE,)),), {BASE: base}),
                Staged((Record("vm.web.root", recipe, "f", (UPPER,), facts),), {UPPER: disk}),
            ]
        )
    assert cat(path / UPPER, "/etc/hostname") == b"patched\n"
    assert "upper" not in ls(path / UPPER, "/")


def test_a_base_for_a_raw_disk_is_a_mistake(raw: Path, built: Path) -> None:
    with pytest.raises(UsageError, match="stands on no image and has no base"):
        cat(raw, "/etc/hostname", built / BASE)


def test_looking_changes_nothing_and_leaves_nothing(built: Path) -> None:
    before = {path: path.stat() for path in built.rglob("*")}
    cat(built / COW, "/etc/hostname")
    ls(built / COW, "/", in_full=True)
    after = {path: path.stat() for path in built.rglob("*")}
    assert {path: (found.st_mtime_ns, found.st_size) for path, found in after.items()} == {
        path: (found.st_mtime_ns, found.st_size) for path, found in before.items()
    }


def test_a_directory_is_listed_by_name(raw: Path) -> None:
    assert set(ls(raw, "/")) == {"etc", "lost+found"}
    assert os.fsdecode(b"caf\xe9") in ls(raw, "/etc")


def test_a_listing_in_full_says_what_each_entry_is(raw: Path) -> None:
    lines = {line.split()[-1]: line for line in ls(raw, "/etc", in_full=True) if "link ->" not in line}
    assert lines["hostname"] == "-rw-r--r--   1     0     0          4 2000-01-01 00:00 hostname"
    assert lines["/nowhere"].endswith("dangling -> /nowhere")
    assert lines["null"].startswith("crw-rw-rw-   1     0     0       1, 3 ")
    (line,) = [line for line in ls(raw, "/", in_full=True) if line.endswith(" etc")]
    assert line.startswith("drwxr-x---   2     1     2 ")


@pytest.mark.parametrize("name", ["hostname", "link", "dangling", "null"])
def test_what_is_no_directory_is_listed_as_itself(raw: Path, name: str) -> None:
    assert ls(raw, f"/etc/{name}") == [f"/etc/{name}"]


@pytest.mark.parametrize("read", [cat, ls])
def test_what_is_not_there_is_a_plain_error(raw: Path, read: Callable[[Path, str], object]) -> None:
    with pytest.raises(GuestPathError, match="'/etc/nothing' is not there in"):
        read(raw, "/etc/nothing")


@pytest.mark.parametrize("name", ["/etc", "/etc/null"])
def test_only_regular_files_have_content(raw: Path, name: str) -> None:
    with pytest.raises(GuestPathError, match="is no regular file"):
        cat(raw, name)


def test_a_journal_that_was_not_replayed_is_read_through_and_not_touched(raw: Path) -> None:
    (place,) = blocks_of(raw, "/etc/hostname")
    Log(raw).add({place: b"new\n".ljust(4096, b"\0")})
    before = raw.read_bytes()
    assert cat(raw, "/etc/hostname") == b"new\n"
    assert raw.read_bytes() == before


def told(disk: Path) -> list[str]:
    """What is said of a disk while a file in it is read."""
    warnings = list[str]()
    before = disk.read_bytes()
    with browse.opened_disk(disk, None, warn=warnings.append) as filesystem:
        assert b"".join(browse.content(filesystem, "/etc/hostname")) == b"web\n"
    assert disk.read_bytes() == before
    return warnings


def test_a_journal_that_cannot_be_replayed_is_told_and_the_disk_read_as_it_stands(raw: Path) -> None:
    Log(raw).superblock(x0=0)
    assert told(raw) == [
        f"the journal of '{raw}' is damaged: it has no superblock: what is read here may be old"
    ]


@pytest.mark.parametrize("state", [0, 2, 3])
def test_a_disk_that_is_marked_as_having_errors_is_read_and_told(raw: Path, state: int) -> None:
    change_superblock(raw, state=state)
    assert told(raw) == [f"'{raw}' is marked as having errors: what is read here may be wrong"]


def test_a_disk_with_orphans_is_read_as_any_other(raw: Path) -> None:
    change_superblock(raw, last_orphan=11)
    assert told(raw) == []


def test_a_disk_that_a_running_vm_may_be_writing_to_is_not_read(raw: Path) -> None:
    with held("r+b", raw) as program:
        with pytest.raises(BusyError, match=rf"is in use by .* \(process {program.pid}\)"):
            cat(raw, "/etc/hostname")
        program.communicate()


def test_a_disk_that_others_only_read_is_read(raw: Path) -> None:
    with held("rb", raw) as program:
        assert cat(raw, "/etc/hostname") == b"web\n"
        program.communicate()


def directory(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def nothing(_: Path) -> None:
    pass


def text(path: Path) -> None:
    path.write_text("no disk\n" * 1000)


def empty(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize(
    ("make", "message", "code"),
    [
        (nothing, "there is no disk", 3),
        (directory, "is no disk: neither a regular file nor a block device", 3),
        (fifo, "is no disk: neither a regular file nor a block device", 3),
        (text, "holds no ext4 filesystem: its magic number is missing", 1),
        (empty, "holds no ext4 filesystem: it is empty", 1),
    ],
)
def test_what_is_no_disk_is_a_plain_error(
    tmp_path: Path, make: Callable[[Path], None], message: str, code: int
) -> None:
    make(tmp_path / "disk")
    with pytest.raises(BangerError, match=message) as caught:
        cat(tmp_path / "disk", "/etc/hostname")
    assert caught.value.exit_code == code


def test_a_base_that_is_gone_is_a_plain_error(built: Path) -> None:
    (built / BASE).unlink()
    with pytest.raises(FilesystemError, match=r"root\.cow' stands on the image '.*/rootfs\.ext4'") as caught:
        cat(built / COW, "/etc/hostname")
    assert "bangerbuild apply" in str(caught.value.hint)


def test_a_disk_that_may_not_be_read_is_a_plain_error(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(formats, "recognised", refuse)
    with pytest.raises(FilesystemError, match=r"cannot open '.*': Permission denied"):
        cat(raw, "/etc/hostname")


def test_a_directory_is_listed_in_full_without_a_search_for_each_name(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawFile(raw) as blocks, Filesystem(blocks) as disk:
        listed = list(browse.listing(disk, "/etc", in_full=True))
        searched: list[bytes] = []
        child = disk.nodes.child

        def search(directory: int, name: bytes) -> int:
            searched.append(name)
            return child(directory, name)

        monkeypatch.setattr(disk.nodes, "child", search)
        assert list(browse.listing(disk, "/etc", in_full=True)) == listed
    assert set(searched) == {b"etc"}
