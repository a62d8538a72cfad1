"""A disk read through its unreplayed journal: e2fsck and the kernel say what it holds."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.journal import Replayed, through_journal
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW, assert_clean, change_superblock, debugfs, make_ext4
from tests.disk.journals import (
    ASYNC_COMMIT,
    FAST_COMMIT,
    MAGIC,
    ONES,
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
from tests.properties import SHARED_FIXTURES

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
FORMS = {
    "no checksums": Form(0, wide=False),
    "no checksums, 64bit": Form(0),
    "checksums v1": Form(1, wide=False),
    "checksums v1, 64bit": Form(1),
    "checksums v2": Form(2, wide=False),
    "checksums v2, 64bit": Form(2),
    "checksums v3": Form(3, wide=False),
    "checksums v3, 64bit": Form(3),
    "the log at the ring's end": Form(start=1020),
    "the numbers of transactions at their end": Form(sequence=ONES - 1),
    "commits that need not wait": Form(incompat=ASYNC_COMMIT),
}
OLD, NEW, NEWER = b"o", b"n", b"N"


def opened(path: Path) -> Replayed:
    """The view, to be looked at from outside: what is below it is closed."""
    with RawFile(path) as blocks:
        view = through_journal(blocks)
    assert isinstance(view, Replayed)
    return view


def refuse(path: Path, message: str) -> FilesystemError:
    with RawFile(path) as blocks, pytest.raises(FilesystemError, match=message) as caught:
        through_journal(blocks)
    assert str(path) in caught.value.brief
    return caught.value


def text_of(path: Path, guest: str = "/f") -> bytes:
    with RawFile(path) as blocks, Filesystem(through_journal(blocks), allow_unclean=True) as disk:
        return disk.read(guest) or b""


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


def page(letter: bytes) -> bytes:
    return letter * 4096


def letters(text: bytes, count: int) -> bytes:
    """The first byte of each of the first blocks."""
    return text[: 4096 * count : 4096]


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


@pytest.mark.parametrize("row", FORMS)
def test_every_form_of_a_journal_is_read(row: str, disk: Path, places: list[int]) -> None:
    log = Log(disk, FORMS[row])
    log.add({block: page(NEW) for block in places[:50]})
    log.add({places[0]: page(NEWER), places[1]: struct.pack(">I", MAGIC) * 1024}, [places[2]])
    log.add({places[3]: page(NEWER)}, [places[4], places[3] + 1000])
    log.descriptor([(places[5], page(NEWER))])
    text = text_of(disk)
    assert letters(text, 8) == b"N\xc0oNonnn"
    assert text[4096:8192] == struct.pack(">I", MAGIC) * 1024
    assert letters(text, 60)[48:] == b"nn" + b"o" * 10
    assert_reads_as_replayed(disk)


def test_a_block_written_after_it_was_revoked_is_read(disk: Path, places: list[int]) -> None:
    log = Log(disk)
    log.add({places[0]: page(NEW), places[1]: page(NEW)})
    log.add(revoked=places[:2])
    log.add({places[1]: page(NEWER)})
    assert letters(text_of(disk), 2) == b"oN"
    assert_reads_as_replayed(disk)


def test_the_log_ends_where_older_transactions_stand(disk: Path, places: list[int]) -> None:
    old = Log(disk, Form(sequence=7))
    for block in places[:5]:
        old.add({block: page(NEWER)})
    new = Log(disk, Form(sequence=11))
    new.add({places[9]: page(NEW)})
    assert letters(text_of(disk), 10) == b"ooooooooon"
    assert_reads_as_replayed(disk)


def test_a_log_that_goes_all_around_ends_where_it_began(disk: Path, places: list[int]) -> None:
    log = Log(disk, Form(start=100))
    while log.at != 97:
        log.add({places[log.sequence % 7]: page(b"%c" % (log.sequence % 26 + 97))})
    log.add({places[8]: page(NEW)})
    assert log.at == 100
    assert letters(text_of(disk), 9)[8:] == NEW
    assert_reads_as_replayed(disk)


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


# errors that were known before, or show in the journal


@pytest.mark.parametrize("checksums", [1, 2, 3])
def test_a_commit_with_a_wrong_checksum_ends_the_log_and_is_an_error(
    checksums: int, disk: Path, places: list[int]
) -> None:
    log = Log(disk, Form(checksums))
    log.add({places[0]: page(NEW)})
    commit = log.add({places[1]: page(NEW)})
    flip(log, commit, 0x13)
    log.add({places[2]: page(NEW)})
    assert_marked_as_having_errors(disk, b"noo")


@pytest.mark.parametrize(
    ("checksums", "more", "error"), [(1, True, True), (1, False, False), (3, True, False)]
)
def test_an_asynchronous_commit_with_a_wrong_checksum_ends_the_log(
    checksums: int, more: bool, error: bool, disk: Path, places: list[int]  # noqa: FBT001 - a table
) -> None:  # fmt: skip
    log = Log(disk, Form(checksums, incompat=ASYNC_COMMIT))
    log.add({places[0]: page(NEW)})
    flip(log, log.add({places[1]: page(NEW)}), 0x13)
    if more:
        log.add({places[2]: page(NEW)})
    if error:
        assert_marked_as_having_errors(disk, b"noo")
    else:
        assert letters(text_of(disk), 3) == b"noo"
        assert_reads_as_replayed(disk)


def test_damage_behind_an_asynchronous_commit_with_a_wrong_checksum_is_an_error(
    disk: Path, places: list[int]
) -> None:
    log = Log(disk, Form(incompat=ASYNC_COMMIT))
    flip(log, log.add({places[0]: page(NEW)}), 0x13)
    flip(log, log.add({places[1]: page(NEW)}) - 2, 0x800)
    refuse(disk, "the checksum of a transaction is wrong")


def assert_marked_as_having_errors(disk: Path, expected: bytes) -> None:
    with RawFile(disk) as blocks:
        view = through_journal(blocks)
        with pytest.raises(FilesystemError, match="marked as having errors"):
            Filesystem(view)
        with Filesystem(view, allow_unclean=True) as fs:
            assert letters(fs.read("/f") or b"", len(expected)) == expected
        copy = disk.with_suffix(".replayed")
        replayed(disk, copy)
        with RawFile(copy) as judge:
            assert content(view) == content(judge)


def flip(log: Log, at: int, offset: int) -> None:
    block = bytearray(block_of(log.path, log.file_blocks[at], log.size))
    block[offset] ^= 0x55
    log.put(at, bytes(block))


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


@pytest.mark.parametrize("checksums", [1, 2, 3])
def test_a_commit_that_is_older_than_the_last_is_what_was_there_before(
    checksums: int, disk: Path, places: list[int]
) -> None:
    log = Log(disk, Form(checksums))
    log.add({places[0]: page(NEW)})
    log.descriptor([(places[1], page(NEW))])
    flip(log, log.commit(seconds=5), 0x13)
    assert letters(text_of(disk), 2) == b"no"
    assert_reads_as_replayed(disk)


# damage


@pytest.mark.parametrize("checksums", [2, 3])
def test_a_damaged_copy_of_a_block_is_an_error(checksums: int, disk: Path, places: list[int]) -> None:
    log = Log(disk, Form(checksums))
    log.add({places[0]: page(NEW)})
    flip(log, log.at - 2, 100)
    error = refuse(
        disk, rf"the journal of .* is damaged: the checksum of its copy of block {places[0]} is wrong"
    )
    assert error.hint == f"e2fsck -f '{disk}'"


def test_damage_to_a_copy_that_nobody_needs_is_none(disk: Path, places: list[int]) -> None:
    log = Log(disk)
    log.add({places[0]: page(NEW)})
    flip(log, log.at - 2, 100)
    log.add(revoked=[places[0]])
    assert letters(text_of(disk), 1) == OLD
    assert_reads_as_replayed(disk)


@pytest.mark.parametrize("kind", ["descriptor", "revoke"])
def test_damage_to_what_describes_a_committed_transaction_is_an_error(
    kind: str, disk: Path, places: list[int]
) -> None:
    log = Log(disk)
    at = log.at
    if kind == "descriptor":
        log.descriptor([(places[0], page(NEW))])
    else:
        log.revoke([places[0]])
    log.commit()
    flip(log, at, 200)
    refuse(disk, "the checksum of a transaction is wrong")


def test_a_revoke_block_that_has_more_than_it_can_hold_is_an_error(disk: Path) -> None:
    log = Log(disk)
    log.revoke([1, 2], used=4093)
    log.commit()
    refuse(disk, "a revoke block of 4096 bytes has 4093 in use")


@pytest.mark.parametrize("used", [0, 15, 16, 23, 4092])
def test_a_revoke_block_holds_whole_numbers_only(used: int, disk: Path, places: list[int]) -> None:
    log = Log(disk)
    log.add({places[0]: page(NEW)})
    log.revoke([places[0]], used=used)
    log.commit()
    assert letters(text_of(disk), 1) == (OLD if used == 4092 else NEW)
    assert_reads_as_replayed(disk)


@pytest.mark.parametrize("block", [4096, 1 << 31, 1 << 40, (1 << 64) - 1])
def test_a_copy_of_a_block_that_is_not_on_the_disk_is_an_error(block: int, disk: Path) -> None:
    Log(disk).add({block: page(NEW)})
    refuse(disk, f"a copy of block {block}, which is not on the disk")


def test_a_log_without_an_end_is_read_once_around(disk: Path, places: list[int]) -> None:
    """Each block of the ring is a revoke block of one and the same transaction."""
    log = Log(disk, Form(start=500))
    for _ in range(log.end - 1):
        log.revoke([places[0]])
    assert letters(text_of(disk), 1) == OLD


def test_a_descriptor_of_more_blocks_than_there_are_is_read_once_around(
    disk: Path, places: list[int]
) -> None:
    log = Log(disk, Form(0))
    raw = log.header(1) + log.tag(places[0], 2, page(NEW)) * 300
    for _ in range(10):
        log.append(raw.ljust(4096, b"\0"))
        log.at = (log.at + 300) % log.end or 1
    assert letters(text_of(disk), 1) == OLD


SUPERBLOCKS = {
    "no magic": ({"x0": 1}, "it has no superblock"),
    "of another type": ({"x4": 2}, "it has no superblock"),
    "in other blocks": ({"xc": 1024}, "it has blocks of 1024 bytes"),
    "too long": ({"x10": 1025}, "it ends before its 1025 blocks do"),
    "far too long": ({"x10": ONES}, "it ends before its 4294967295 blocks do"),
    "without blocks": ({"x10": 0}, "its log lies at block 1 of 1 to 0"),
    "shorter than its start": ({"x10": 500, "x1c": 500}, "its log lies at block 500 of 1 to 500"),
    "ring at the superblock": ({"x14": 0}, "its log lies at block 1 of 0 to 1024"),
    "start before the ring": ({"x14": 9}, "its log lies at block 1 of 9 to 1024"),
    "start nowhere": ({"x1c": 1 << 31}, "its log lies at block 2147483648 of 1 to 1024"),
    "of a later kind": ({"x28": 0x1000}, "uses features that are not supported: incompat 0x1000"),
    "not to be written": ({"x2c": 1}, "uses features that are not supported: .* ro_compat 0x1"),
    "of two kinds of checksums": ({"x28": 0x18}, "it has checksums of several kinds"),
    "of an old and a new kind of checksums": ({"x24": 1}, "it has checksums of several kinds"),
    "with other checksums": ({"x50": 0x01000000}, "the checksum of its superblock is wrong"),
    "all of fast commits": ({"x28": 0x30, "x54": 1024}, "its log lies at block 1 of 1 to 0"),
}


@pytest.mark.parametrize("row", SUPERBLOCKS)
def test_a_journal_superblock_that_lies_is_an_error(row: str, disk: Path, places: list[int]) -> None:
    fields, message = SUPERBLOCKS[row]
    log = Log(disk)
    log.add({places[0]: page(NEW)})
    log.superblock(**fields)
    refuse(disk, message)


def test_a_journal_superblock_with_a_wrong_checksum_is_an_error(disk: Path) -> None:
    flip(Log(disk), 0, 0x21)
    refuse(disk, "the checksum of its superblock is wrong")


def test_features_of_a_superblock_that_is_too_old_for_them_count_for_nothing(
    disk: Path, places: list[int]
) -> None:
    log = Log(disk, Form(0, wide=False))
    log.add({places[0]: page(NEW)})
    log.superblock(x4=3, x28=0)
    assert letters(text_of(disk), 1) == NEW
    assert_reads_as_replayed(disk)


INODES = {
    "a directory": (("sif <8> mode 040700",), "inode 8 holds no journal"),
    "nothing": (("clri <8>",), "inode 8 holds no journal"),
    "encrypted": (("sif <8> flags 0x80800",), "inode 8 holds no journal"),
    "short": (("sif <8> size 409600",), "it ends before its 1024 blocks do"),
    "with a hole": (("punch <8> 1 5",), "block 1 is nowhere on the disk"),
    "off the disk": (("sif <8> block[5] 0xFFFFFF",), "its inode leads where no disk is"),
    "without a tree": (("sif <8> block[0] 0",), "the journal of .* is damaged"),
    "with a tree elsewhere": (("sif <8> block[1] 1",), "the journal of .* is damaged"),
    "another": (("ssv journal_inum 9000000",), "inode 9000000: "),
    "no inode": (("ssv journal_inum 0",), "inode 0: "),
    "on a device": (("ssv journal_uuid 11111111-2222-3333-4444-555555555555",), "on a device of its own"),
    "on an old device": (("ssv journal_inum 0", "ssv journal_dev 0x803"), "on a device of its own"),
    "not there": (("feature -has_journal",), "marked as having a journal to replay, and has no journal"),
}


@pytest.mark.parametrize("row", INODES)
def test_a_journal_that_is_not_where_it_should_be_is_an_error(
    row: str, disk: Path, places: list[int]
) -> None:
    requests, message = INODES[row]
    log = Log(disk)
    log.add({places[0]: page(NEW)})
    by_debugfs(disk, *requests)
    mark(disk)
    refuse(disk, message)


@pytest.mark.parametrize(("sequence", "refused"), [(2, True), (1, False), (3, False)])
def test_fast_commits_after_the_last_transaction_are_refused(
    sequence: int, refused: bool, disk: Path, places: list[int]  # noqa: FBT001 - a table
) -> None:  # fmt: skip
    log = Log(disk, Form(incompat=FAST_COMMIT, fast_commit_blocks=256))
    log.add({places[0]: page(NEW)})
    log.put(log.end + 1, struct.pack("<HHII", 9, 8, 0, sequence).ljust(4096, b"\0"))
    if refused:
        error = refuse(disk, "has fast commits, which have to be replayed first")
        assert error.hint == f"e2fsck -p '{disk}'"
    else:
        assert letters(text_of(disk), 1) == NEW


@pytest.fixture(scope="module")
def busy(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[bytes, list[int]]]:
    """Disks with a journal of several transactions, by their kind of checksums; and where the journal is."""
    found = {}
    for checksums in range(4):
        path = shutil.copyfile(furnished, tmp_path_factory.mktemp("busy") / "disk.ext4")
        log, places = Log(path, Form(checksums, start=1015)), blocks_of(path, "/f")
        for i in range(6):
            log.add(
                {block: page(b"%d" % i) for block in places[i : i + 4]}, places[i : i + 1] if i % 2 else ()
            )
        found[checksums] = (path.read_bytes(), log.file_blocks[:30] + log.file_blocks[1010:])
    return found


@settings(SHARED_FIXTURES, max_examples=150)
@given(checksums=st.integers(0, 3), seed=st.integers(0, 1 << 32), count=st.integers(1, 12))
def test_damage_anywhere_in_the_journal_is_an_error_of_ours_or_none(
    busy: dict[int, tuple[bytes, list[int]]], tmp_path: Path, checksums: int, seed: int, count: int
) -> None:
    content_before, journal = busy[checksums]
    chance = random.Random(seed)  # noqa: S311 - damage, not cryptography
    damaged = bytearray(content_before)
    for _ in range(count):
        at = chance.choice(journal) * 4096 + chance.choice([chance.randrange(96), chance.randrange(4096)])
        damaged[at] = chance.choice([0, 1, 2, 5, 255, chance.randrange(256)])
    path = tmp_path / "damaged.ext4"
    path.write_bytes(damaged)
    try:
        text = text_of(path)
    except FilesystemError as err:
        assert "the journal of" in err.brief  # noqa: PT017 - no error is as good
    else:
        assert len(text) == 60 * 4096
    assert path.read_bytes() == damaged


BLOCKS = st.integers(0, 11)
TRANSACTIONS = st.lists(
    st.tuples(
        st.dictionaries(BLOCKS, st.sampled_from([b"a", b"b", b"c", MAGIC.to_bytes(4, "big")]), max_size=9),
        st.lists(BLOCKS, max_size=3),
    ),
    max_size=8,
)


@settings(SHARED_FIXTURES, max_examples=40)
@given(
    form=st.builds(
        Form,
        checksums=st.integers(0, 3),
        wide=st.booleans(),
        start=st.sampled_from([1, 700, 1000, 1015, 1023]),
        sequence=st.sampled_from([1, 77, ONES - 3, ONES]),
    ),
    transactions=TRANSACTIONS,
    is_complete=st.booleans(),
)
def test_any_log_reads_as_e2fsck_replays_it(
    furnished: Path,
    tmp_path: Path,
    form: Form,
    transactions: list[tuple[dict[int, bytes], list[int]]],
    is_complete: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    path = shutil.copyfile(furnished, tmp_path / "any.ext4")
    places, log = blocks_of(path, "/f"), Log(path, form)
    for copies, revoked in transactions:
        log.add(
            {places[i]: letter * (4096 // len(letter)) for i, letter in copies.items()},
            [places[i] for i in revoked],
        )
    if not is_complete:
        log.descriptor([(places[0], page(NEW))])
    assert_reads_as_replayed(path)


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
