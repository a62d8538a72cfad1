"""A disk read through its unreplayed journal: e2fsck and the kernel say what it holds."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.journal import Replayed, through_journal
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW, assert_clean, change_superblock, debugfs, make_ext4
from tests.disk.journal_views import (
    NEW,
    NEWER,
    OLD,
    assert_marked_as_having_errors,
    letters,
    page,
    refuse,
    text_of,
)
from tests.disk.journals import (
    FAST_COMMIT,
    MAGIC,
    Form,
    Log,
    assert_reads_as_replayed,
    block_bytes_of,
    block_of,
    blocks_of,
    by_debugfs,
    content,
    differing,
    differing_blocks,
    journal_blocks,
    journal_piece,
    mark,
    replayed,
)
from tests.need import lacking, need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYOUTS = {
    "default": "",
    "blocks of 1k": "-b 1024",
    "blocks of 2k": "-b 2048",
    "no 64bit": "-O ^64bit",
    "no metadata_csum": "-O ^metadata_csum",
    "neither, blocks of 1k": "-b 1024 -O ^metadata_csum,^64bit",
    "bigalloc": "-O bigalloc -C 16384",
    "ext3": "-t ext3",
    "ext3, blocks of 1k": "-t ext3 -b 1024",
}


def opened(path: Path) -> Replayed:
    """The view, to be looked at from outside: what is below it is closed."""
    with RawFile(path) as blocks:
        view = through_journal(blocks)
    assert isinstance(view, Replayed)
    return view


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 with one file of 60 blocks, `/f`, not to be written."""
    path = make_ext4(tmp_path_factory.mktemp("furnished") / "disk.ext4", "-O", "^metadata_csum", size="16M")
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        disk.write_file("/f", OLD * (60 * 4096))
    return path


@pytest.fixture
def disk(furnished: Path, tmp_path: Path) -> Path:
    return shutil.copyfile(furnished, tmp_path / "disk.ext4")


@pytest.fixture
def places(disk: Path) -> list[int]:
    """The blocks of `/f`."""
    return blocks_of(disk, "/f")


# what debugfs writes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("opening", ["jo", "jo -c", "jo -c -v 2"])
def test_what_debugfs_wrote_into_the_journal_is_read(layout: str, opening: str, tmp_path: Path) -> None:
    """The journal gets the blocks in which the engine's work shows, in two transactions."""
    path = make_ext4(tmp_path / "disk.ext4", *LAYOUTS[layout].split(), size="16M")
    states = [path, tmp_path / "one.ext4", tmp_path / "two.ext4"]
    requests = [opening]
    for i, (before, after) in enumerate(pairwise(states)):
        shutil.copyfile(before, after)
        with RawFile(after, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as fs:
            fs.remove("/etc", recursive=True)
            fs.write_file("/etc/hostname", b"%d\n" % i, mode=0o640, uid=i, xattrs={"user.i": b"%d" % i})
            fs.write_file("/usr/large", struct.pack(">I", MAGIC) * 9000)
            for name in range(50 * i):
                fs.make_symlink(f"/links/{name}", "/etc")
        changes = differing_blocks(before, after, block_bytes_of(path))
        (tmp_path / f"blocks{i}").write_bytes(b"".join(changes.values()))
        requests.append(f"jw -b {','.join(map(str, changes))} {tmp_path}/blocks{i}")
    by_debugfs(path, *requests, "jc")
    with RawFile(path) as blocks, RawFile(states[-1]) as expected:
        assert content(through_journal(blocks)) == content(expected) != content(blocks)
    assert_reads_as_replayed(path)


def test_a_revoked_block_is_as_it_was_before_the_journal(
    disk: Path, places: list[int], tmp_path: Path
) -> None:
    (tmp_path / "new").write_bytes(page(NEW) * 3)
    listed = ",".join(map(str, places[:3]))
    by_debugfs(disk, "jo", f"jw -b {listed} {tmp_path}/new", f"jw -r {places[1]}", "jc")
    assert letters(text_of(disk), 4) == b"nono"
    assert_reads_as_replayed(disk)


def test_a_transaction_without_its_end_never_happened(disk: Path, places: list[int], tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(page(NEW))
    by_debugfs(disk, "jo", f"jw -b {places[0]} {tmp_path}/new", f"jw -c -b {places[1]} {tmp_path}/new", "jc")
    assert letters(text_of(disk), 2) == b"no"
    assert_reads_as_replayed(disk)


# what is written by hand, as no tool does it


def test_an_empty_journal_changes_nothing_but_the_mark(disk: Path) -> None:
    mark(disk)
    with RawFile(disk) as blocks:
        view = through_journal(blocks)
        assert differing(view, blocks) == {1}
        with Filesystem(view) as fs:
            assert fs.superblock.is_clean
    assert_reads_as_replayed(disk)


def test_what_is_not_marked_is_the_same_disk(disk: Path) -> None:
    Log(disk).add({1: page(NEW)})
    by_debugfs(disk, "feature -needs_recovery")
    with RawFile(disk) as blocks:
        assert through_journal(blocks) is blocks


@pytest.mark.parametrize("size", [0, 100, 2047, 5000])
def test_what_holds_no_filesystem_is_the_same_disk(size: int, tmp_path: Path) -> None:
    (tmp_path / "no.ext4").write_bytes(bytes(size))
    with RawFile(tmp_path / "no.ext4") as blocks:
        assert through_journal(blocks) is blocks


def test_a_disk_that_is_cut_short_is_left_to_be_judged(disk: Path) -> None:
    mark(disk)
    os.truncate(disk, 1 << 20)
    with RawFile(disk) as blocks:
        assert through_journal(blocks) is blocks


def test_a_superblock_in_the_journal_wins_but_for_its_mark(disk: Path) -> None:
    log = Log(disk)
    whole = bytearray(block_of(disk, 0, 4096))
    whole[1024 + 0x78 : 1024 + 0x88] = b"renamed".ljust(16, b"\0")
    log.add({0: bytes(whole)})
    with RawFile(disk) as blocks, Filesystem(through_journal(blocks)) as fs:
        assert fs.superblock.label == "renamed"
    assert_reads_as_replayed(disk)


def test_a_filesystem_that_was_grown_shortly_before_is_read(disk: Path) -> None:
    """Blocks beyond what the superblock on the disk knows are in the journal with the new superblock."""
    os.truncate(disk, 32 << 20)
    before = shutil.copyfile(disk, disk.with_suffix(".before"))
    subprocess.run([need("resize2fs"), str(disk)], check=True, capture_output=True)
    changes = differing_blocks(before, disk, 4096)
    shutil.copyfile(before, disk)
    own = set(journal_blocks(disk))
    Log(disk).add({block: data for block, data in changes.items() if block not in own})
    with RawFile(disk) as blocks, Filesystem(through_journal(blocks)) as fs:
        assert fs.superblock.size_bytes == 32 << 20
    assert_reads_as_replayed(disk)


def test_checksums_of_metadata_hold_in_the_view(tmp_path: Path) -> None:
    """Libext2fs checks the superblock's when it opens it."""
    path = make_ext4(tmp_path / "disk.ext4")
    mark(path)
    with RawFile(path) as blocks, Filesystem(through_journal(blocks)) as fs:
        assert fs.listdir("/") == ["lost+found"]
    assert_reads_as_replayed(path)


@pytest.mark.parametrize("layout", ["default", "bigalloc"])
def test_a_snapshot_is_read_through_the_journal_in_its_store(layout: str, tmp_path: Path) -> None:
    """The base is clean; what a guest left in its journal lies in the store alone."""
    base = make_ext4(tmp_path / "base.ext4", *LAYOUTS[layout].split())
    with RawFile(base, writable=True) as raw, Filesystem(raw, writable=True, now=NOW) as fs:
        fs.write_file("/f", OLD * (20 * 4096))
    merged = shutil.copyfile(base, tmp_path / "merged.ext4")
    log = Log(merged)
    log.add({block: page(NEW) for block in blocks_of(merged, "/f")[:7]})
    with RawFile(base) as under, SnapshotStore.create(under, tmp_path / "s.cow", durable=False) as store:
        for block, data in differing_blocks(base, merged, 4096).items():
            store.write(block * 4096, data)
        store.commit()
    before = (tmp_path / "s.cow").read_bytes()
    with RawFile(base) as under, SnapshotStore(under, tmp_path / "s.cow") as store:
        assert_reads_as_replayed(merged, store)
        with Filesystem(through_journal(store)) as fs:
            assert letters(fs.read("/f") or b"", 8) == b"nnnnnnno"
    assert (tmp_path / "s.cow").read_bytes() == before


def test_a_view_keeps_places_and_no_content(disk: Path, places: list[int]) -> None:
    log = Log(disk)
    for _ in range(5):
        log.add({block: page(NEW) for block in places})
    view = opened(disk)
    assert view._places.keys() == set(places)
    assert set(view._places.values()) <= set(log.file_blocks)
    kept = [value for value in vars(view).values() if isinstance(value, bytes)]
    assert sum(map(len, kept)) == 1024  # the superblock


def test_a_view_is_not_written(disk: Path) -> None:
    mark(disk)
    with RawFile(disk) as blocks:
        view = through_journal(blocks)
        assert not view.writable
        view.flush()
        with pytest.raises(FilesystemError, match="can't be written") as caught:
            view.write(0, b"x")
    assert caught.value.hint == f"e2fsck -p '{disk}'"


def test_a_view_ends_where_the_disk_does(disk: Path) -> None:
    mark(disk)
    with RawFile(disk) as blocks:
        view = through_journal(blocks)
        assert len(view.read(view.size_bytes - 10, 10)) == 10
        with pytest.raises(FilesystemError, match="ends before byte"):
            view.read(view.size_bytes - 10, 11)


# errors that were known before


def test_an_error_of_the_filesystem_outlives_the_superblock_in_the_journal(disk: Path) -> None:
    whole = block_of(disk, 0, 4096)
    change_superblock(disk, state=3)
    Log(disk).add({0: whole})
    assert_marked_as_having_errors(disk, b"")


def test_an_error_that_the_journal_knows_of_is_one_of_the_filesystem(disk: Path, places: list[int]) -> None:
    log = Log(disk)
    log.add({places[0]: page(NEW)})
    log.superblock(x20=0xFFFFFFFB)
    assert_marked_as_having_errors(disk, b"n")


# what the kernel writes

KERNELS = {
    "default": ("", ""),
    "data in the journal": ("", ",data=journal"),
    "data in the journal, blocks of 1k": ("-b 1024", ",data=journal"),
    "no 64bit": ("-O ^64bit", ",data=journal"),
    "no checksums": ("-O ^metadata_csum,^64bit", ",data=journal"),
    "checksums v1": ("-O ^metadata_csum", ",data=journal,journal_checksum"),
    "asynchronous commits": ("-O ^metadata_csum", ",data=journal,journal_async_commit"),
    "asynchronous commits, checksums v3": ("", ",data=journal,journal_async_commit"),
    "bigalloc": ("-O bigalloc -C 16384", ",data=journal"),
    "orphan_file": ("-O orphan_file", ",data=journal"),
    "ext3": ("-t ext3", ",data=journal"),
}


@contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        lacking("only root mounts filesystems")
    directory = path.with_suffix(".mount")
    directory.mkdir()
    command = [need("mount"), "-t", "ext4", "-o", f"loop{options}", str(path), str(directory)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip(f"this kernel does not mount an ext4 with {options}")
    try:
        yield directory
    finally:
        subprocess.run([need("umount", "mount"), str(directory)], check=True)


def write(path: Path, data: bytes) -> None:
    """Write a file and have the kernel commit it to the journal."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def work_in(directory: Path) -> None:
    """What leaves transactions of every kind in a journal, some of which the log has run over."""
    for round_ in range(6):
        for i in range(40):
            (directory / f"d{round_}" / str(i)).mkdir(parents=True)
            (directory / f"d{round_}" / str(i) / "file").write_bytes(b"%d" % i * 500)
        write(directory / "large", struct.pack(">I", MAGIC) * 100_000)
        if round_ % 2:
            shutil.rmtree(directory / f"d{round_ - 1}")
        (directory / f"link{round_}").symlink_to("x" * 90)
        write(directory / f"small{round_}", b"%d\n" % round_)
    (directory / "d1").rename(directory / "renamed")
    os.setxattr(directory / "small0", "user.note", b"x" * 300)
    write(directory / "last", b"last\n")


@pytest.mark.root
@pytest.mark.parametrize("row", KERNELS)
def test_a_disk_whose_guest_was_killed_reads_as_it_will_be(row: str, tmp_path: Path) -> None:
    options, mount_options = KERNELS[row]
    path, killed = make_ext4(tmp_path / "disk.ext4", *options.split()), tmp_path / "killed.ext4"
    with mounted(path, mount_options) as directory:
        work_in(directory)
        subprocess.run([need("cp", "coreutils"), "--sparse=always", path, killed], check=True)
    assert b"needs_recovery" in debugfs(killed, "features")
    assert text_of(killed, "/last") == b"last\n"
    assert opened(killed)._places
    assert_reads_as_replayed(killed)
    if "data=journal" in mount_options:
        with RawFile(killed) as blocks, RawFile(path) as unmounted:
            assert content(through_journal(blocks)) == content(unmounted)


@pytest.mark.root
def test_a_file_that_a_guest_had_open_but_removed_is_gone(tmp_path: Path) -> None:
    path, killed = make_ext4(tmp_path / "disk.ext4"), tmp_path / "killed.ext4"
    with mounted(path, "") as directory, (directory / "open").open("wb") as file:
        file.write(bytes(100_000))
        (directory / "open").unlink()
        write(directory / "last", b"last\n")
        subprocess.run([need("cp", "coreutils"), "--sparse=always", path, killed], check=True)
    mended, copy = tmp_path / "mended.ext4", shutil.copyfile(killed, tmp_path / "replayed.ext4")
    assert replayed(killed, mended, "-fp") == 1
    by_debugfs(copy, "jr")  # e2fsck clears the orphan as well
    with RawFile(killed) as blocks, RawFile(copy) as judge, RawFile(mended) as cleared:
        view = through_journal(blocks)
        assert differing(view, judge) <= {1, journal_piece(killed)}
        assert content(view) == content(cleared)
        with Filesystem(view, allow_unclean=True) as fs:
            assert fs.superblock.last_orphan
            assert fs.listdir("/") == ["last", "lost+found"]


@pytest.fixture
def roomy(tmp_path: Path) -> Path:
    """A disk with `/f` whose journal has room for fast commits."""
    path = make_ext4(tmp_path / "roomy.ext4", "-O", "fast_commit", "-J", "size=8", size="32M")
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as fs:
        fs.write_file("/f", OLD * (60 * 4096))
    return path


FAST = Form(incompat=FAST_COMMIT, fast_commit_blocks=500)


def test_a_journal_with_room_for_fast_commits_is_read(roomy: Path) -> None:
    places, log = blocks_of(roomy, "/f"), Log(roomy, FAST)
    log.add({block: page(NEW) for block in places[:50]})
    log.add({places[0]: page(NEWER)}, [places[1]])
    assert letters(text_of(roomy), 3) == b"Non"
    assert_reads_as_replayed(roomy)


@pytest.mark.root
def test_the_ring_ends_before_the_room_for_fast_commits(roomy: Path, tmp_path: Path) -> None:
    """Judged by the kernel: e2fsck 1.47 goes on into that room, and loses what is behind the ring's end."""
    places = blocks_of(roomy, "/f")
    end = Log(roomy, FAST).end
    log = Log(roomy, replace(FAST, start=end - 3))
    log.add({places[0]: page(NEW), places[1]: page(NEW)})
    log.add({places[2]: page(NEWER)})
    assert letters(text_of(roomy), 4) == b"nnNo"
    with mounted(shutil.copyfile(roomy, tmp_path / "copy.ext4"), "") as directory:
        assert (directory / "f").read_bytes() == text_of(roomy)


@pytest.mark.root
def test_fast_commits_of_a_kernel_are_refused_and_e2fsck_helps(tmp_path: Path) -> None:
    path, killed = make_ext4(tmp_path / "disk.ext4", "-O", "fast_commit"), tmp_path / "killed.ext4"
    with mounted(path, "") as directory:
        write(directory / "first", b"1")
        os.sync()
        for i in range(3):
            write(directory / f"small{i}", b"%d\n" % i)
        subprocess.run([need("cp", "coreutils"), "--sparse=always", path, killed], check=True)
    error = refuse(killed, "has fast commits")
    assert error.hint == f"e2fsck -p '{killed}'"
    assert replayed(killed, tmp_path / "mended.ext4", "-p") in {0, 1}
    assert_clean(tmp_path / "mended.ext4")
    assert text_of(tmp_path / "mended.ext4", "/small2") == b"2\n"
