"""The log of a journal: which transactions count, and damage anywhere in it; e2fsck is the judge."""

from __future__ import annotations

import random
import shutil
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW, make_ext4
from tests.disk.journal_views import (
    FORMS,
    NEW,
    NEWER,
    OLD,
    assert_marked_as_having_errors,
    flip,
    letters,
    page,
    refuse,
    text_of,
)
from tests.disk.journals import (
    ASYNC_COMMIT,
    FAST_COMMIT,
    MAGIC,
    ONES,
    Form,
    Log,
    assert_reads_as_replayed,
    blocks_of,
    by_debugfs,
    mark,
)
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from pathlib import Path


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
