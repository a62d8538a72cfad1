"""Disk images with tables that lie: partitions, extended records, headers of qcow2 and VMDK files."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import BangerError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.virtual_disk.choice import choose
from bangerbuild.virtual_disk.containers import HEADER_BYTES, check, container_of
from bangerbuild.virtual_disk.extraction import Extraction
from bangerbuild.virtual_disk.opening import contents, opened
from tests.disk.ext4_tools import is_clean
from tests.fuzz.frame import damaged, few, within_limits
from tests.sources.building import Context
from tests.virtual_disk.making import (
    LINUX,
    MIB,
    ROOT,
    ROOT_X86_64,
    Part,
    converted,
    disk,
    filesystem,
    gpt_of_4096,
)

GPT_FIELDS = (446, 450, 454, 458, 510, *range(512, 600, 4), *range(1024, 1152, 8))
EBR_FIELDS = (446, 450, 454, 458, 462, 466, 470, 474, 510)
HOT_BYTES = 2048
MOST_BYTES = 64 * MIB
HEADER_FIELDS = tuple(range(0, 112, 4))


@pytest.fixture(scope="module")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Disks of 12 MiB with a root."""
    at = tmp_path_factory.mktemp("disks")
    root = filesystem(at / "root", ROOT, "-O", "^has_journal", size="4M")
    gpt = disk(at / "gpt", [Part(2, LINUX), Part(4, ROOT_X86_64, root)], mib=12)
    large = gpt_of_4096(at / "large", [(ROOT_X86_64, "root", root)], mib=12)
    logical = [Part(8, "5", number=1), Part(4, "83", root, number=5), Part(2, "83", number=6)]
    dos = disk(at / "dos", logical, label="dos", mib=12)
    return {
        "gpt": [gpt.read_bytes(), large.read_bytes()],
        "dos": [dos.read_bytes()],
        "qcow2": [converted(gpt, at / "qcow2", "qcow2", "-c").read_bytes()],
        "vmdk": [converted(gpt, at / "vmdk", "vmdk").read_bytes()],
    }


def taken(data: bytes) -> None:
    """Take the root out of a disk: it works, or ends in an error of ours."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "disk")
        path.write_bytes(data)
        target = Path(name, "out")
        with within_limits(), suppress(BangerError), opened(path, "disk", Path(name)) as (blocks, room):
            found = contents(blocks, room)
            chosen = choose(found, blocks, "auto")
            Extraction(blocks, room, UnpackLimits(MOST_BYTES), len(data), Context()).take(
                chosen.content, target
            )
        if target.exists():
            assert target.stat().st_blocks * 512 <= MOST_BYTES


def harness(specimens: list[bytes], start: int, fields: tuple[int, ...], count: int) -> None:
    """Damage what a format has from `start` on, `HOT_BYTES` long, with its fields there; the rest stays."""

    @few(count)
    @given(
        number=st.integers(0, len(specimens) - 1),
        hot=damaged([one[start : start + HOT_BYTES] for one in specimens], fields),
    )
    def run(number: int, hot: bytes) -> None:
        data = specimens[number]
        taken(data[:start] + hot[:HOT_BYTES].ljust(HOT_BYTES, b"\0") + data[start + HOT_BYTES :])

    run()


def test_the_specimens_themselves_come_out_clean(specimens: dict[str, list[bytes]], tmp_path: Path) -> None:
    for number, data in enumerate(one for form in specimens.values() for one in form):
        path, target = tmp_path / f"disk{number}", tmp_path / f"out{number}"
        path.write_bytes(data)
        with opened(path, "disk", tmp_path) as (blocks, room):
            chosen = choose(contents(blocks, room), blocks, "auto")
            Extraction(blocks, room, UnpackLimits(), len(data), Context()).take(chosen.content, target)
        assert is_clean(target)


def test_a_damaged_table_at_the_beginning(specimens: dict[str, list[bytes]]) -> None:
    harness(specimens["gpt"] + specimens["dos"], 0, GPT_FIELDS, 40)


def test_a_damaged_chain_of_logical_partitions(specimens: dict[str, list[bytes]]) -> None:
    harness(specimens["dos"], MIB, EBR_FIELDS, 30)


def test_a_damaged_header_of_a_container(specimens: dict[str, list[bytes]]) -> None:
    harness(specimens["qcow2"] + specimens["vmdk"], 0, HEADER_FIELDS, 30)


@pytest.mark.parametrize("form", ["qcow2", "gpt"])
def test_a_disk_that_is_cut_short(specimens: dict[str, list[bytes]], form: str) -> None:
    for end in (0, 100, 512, 4096, 70_000, 300_000, 5 * MIB):
        taken(specimens[form][0][:end])


@few(200)
@given(
    data=damaged(
        [magic.ljust(1024, b"\0") for magic in (b"QFI\xfb\0\0\0\3", b"KDMV\1\0\0\0", b"conectix")],
        HEADER_FIELDS,
    ),
    tail=st.binary(max_size=64),
)
def test_a_header_is_taken_or_refused(data: bytes, tail: bytes) -> None:
    head = (data + tail)[:HEADER_BYTES]
    container = container_of(head)
    if container is not None:
        with within_limits():
            check(container, head, "disk")
