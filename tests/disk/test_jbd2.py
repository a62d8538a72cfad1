"""The form of a journal: its superblock as dumpe2fs reads it, tags and revokes as they were packed."""

from __future__ import annotations

import re
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import jbd2
from bangerbuild.errors import JournalError
from tests.disk.ext4_tools import debugfs, make_ext4
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

V3, WIDE, V2 = 0x10, 0x2, 0x8
SAME_UUID, LAST, ESCAPED = 2, 8, 1


def journal(incompat: int = 0, compat: int = 0) -> jbd2.Journal:
    return jbd2.Journal(
        block_bytes=1024,
        blocks=1024,
        first=1,
        end=1024,
        start=1,
        sequence=7,
        error=0,
        compat=compat,
        incompat=incompat,
        seed=5,
    )


@pytest.mark.parametrize("options", ["-b 4096", "-b 1024", "-O ^metadata_csum", "-J size=8"])
def test_a_superblock_is_read_as_dumpe2fs_reads_it(options: str, tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", *options.split())
    found = jbd2.parse_superblock(debugfs(disk, "cat <8>")[: jbd2.SUPERBLOCK_BYTES], "disk")
    said = subprocess.run([need("dumpe2fs"), "-h", disk], capture_output=True, text=True, check=True).stdout

    def number(pattern: str) -> int:
        match = re.search(rf"^{pattern}: +(0x)?([0-9a-f]+)", said, re.MULTILINE)
        assert match is not None, said
        return int(match[2], 16 if match[1] else 10)

    assert found.block_bytes == number("Block size")
    assert found.blocks == number("Total journal blocks")
    assert (found.sequence, found.start) == (number("Journal sequence"), number("Journal start"))
    assert found.has_checksums == ("Journal checksum type" in said)


def test_what_is_no_superblock_or_has_a_wrong_checksum_is_damage(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="it has no superblock"):
        jbd2.parse_superblock(bytes(1024), "disk")
    disk = make_ext4(tmp_path / "disk.ext4")
    raw = bytearray(debugfs(disk, "cat <8>")[:1024])
    struct.pack_into(">I", raw, 0x28, V3)  # debugfs and the kernel turn checksums on when they first write
    raw[0x50] = 4
    with pytest.raises(JournalError, match="checksum of its superblock is wrong"):
        jbd2.parse_superblock(bytes(raw), "disk")


numbers = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=20)


@given(numbers=numbers, escaped=st.booleans(), wide=st.booleans())
def test_tags_of_the_third_form_come_back(numbers: list[int], *, escaped: bool, wide: bool) -> None:
    form = journal(V3 | (WIDE if wide else 0))
    block = struct.pack(">4sII", jbd2.MAGIC_BYTES, jbd2.DESCRIPTOR, 7)
    for index, number in enumerate(numbers):
        flags = (SAME_UUID if index else 0) | (ESCAPED if escaped else 0)
        flags |= LAST if index == len(numbers) - 1 else 0
        block += struct.pack(">4I", number, flags, 1 if wide else 0, index) + (b"" if index else bytes(16))
    assert jbd2.parse_tags(form, block.ljust(1024, b"\0")) == [
        jbd2.Tag(number | (1 << 32 if wide else 0), escaped, index) for index, number in enumerate(numbers)
    ]


@given(numbers=numbers, form=st.sampled_from([0, WIDE, V2, V2 | WIDE]))
def test_tags_of_the_older_forms_come_back(numbers: list[int], form: int) -> None:
    block = struct.pack(">4sII", jbd2.MAGIC_BYTES, jbd2.DESCRIPTOR, 7)
    for index, number in enumerate(numbers):
        flags = (SAME_UUID if index else 0) | (LAST if index == len(numbers) - 1 else 0)
        block += struct.pack(">IHH", number, index, flags) + (struct.pack(">I", 0) if form & WIDE else b"")
        block += (bytes(2) if form & V2 else b"") + (b"" if index else bytes(16))
    found = jbd2.parse_tags(journal(form), block.ljust(1024, b"\0"))
    assert [(tag.block, tag.checksum) for tag in found] == [
        (number, index) for index, number in enumerate(numbers)
    ]


@given(numbers=st.lists(st.integers(0, (1 << 32) - 1), max_size=100), wide=st.booleans())
def test_revoked_numbers_come_back(numbers: list[int], *, wide: bool) -> None:
    data = struct.pack(f">{len(numbers)}{'Q' if wide else 'I'}", *numbers)
    block = struct.pack(">4sIII", jbd2.MAGIC_BYTES, jbd2.REVOKE, 7, 16 + len(data)) + data
    found = jbd2.parse_revoked(journal(WIDE if wide else 0), block.ljust(1024, b"\0"), "disk")
    assert list(found) == numbers


def test_a_revoke_block_that_has_more_in_use_than_there_is_is_damage() -> None:
    block = struct.pack(">4sIII", jbd2.MAGIC_BYTES, jbd2.REVOKE, 7, 1025).ljust(1024, b"\0")
    with pytest.raises(JournalError, match="a revoke block of 1024 bytes has 1025 in use"):
        jbd2.parse_revoked(journal(), block, "disk")


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        (struct.pack(">4sII", jbd2.MAGIC_BYTES, jbd2.COMMIT, 7), jbd2.COMMIT),
        (struct.pack(">4sII", jbd2.MAGIC_BYTES, jbd2.COMMIT, 6), 0),
        (struct.pack(">4sII", b"data", jbd2.COMMIT, 7), 0),
    ],
)
def test_a_block_of_another_transaction_is_none_of_this_one(block: bytes, kind: int) -> None:
    assert jbd2.kind_of(block.ljust(1024, b"\0"), 7) == kind


def test_sequences_go_around() -> None:
    assert jbd2.following(7) == 8
    assert jbd2.following((1 << 32) - 1) == 0
