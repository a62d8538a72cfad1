"""The setup header of a bzImage says where its payload lies."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel.bzimage import HEAD_BYTES, BzImageHeader, read_header
from tests.kernel.making import RELEASE, bzimage
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

PAYLOAD = b"\x1f\x8bpayload"


def test_the_payload_lies_where_the_header_says(tmp_path: Path) -> None:
    image = bzimage(PAYLOAD)
    found = read_header(image[:HEAD_BYTES])
    assert found is not None
    assert image[found.payload_offset :][: found.payload_bytes] == PAYLOAD
    (tmp_path / "bzImage").write_bytes(image)
    said = subprocess.run([need("file"), tmp_path / "bzImage"], capture_output=True, text=True, check=True)
    assert f"bzImage, version {found.release} " in said.stdout


def test_setup_of_no_stated_size_has_four_sectors() -> None:
    image = bytearray(bzimage(PAYLOAD))
    image[0x1F1] = 0
    found = read_header(bytes(image))
    assert found == BzImageHeader(5 * 512 + 700, len(PAYLOAD), RELEASE)


@pytest.mark.parametrize("text", ["", " ", "\0"])
def test_a_header_may_name_no_release(text: str) -> None:
    found = read_header(bzimage(PAYLOAD, release=text).replace(b"(build@host) #1 SMP", b"\0" * 19))
    assert found is not None
    assert found.release is None


@pytest.mark.parametrize("head", [b"", bytes(HEAD_BYTES), bzimage(PAYLOAD)[:0x24F], b"MZ" + bytes(1000)])
def test_what_has_no_whole_setup_header_is_no_bzimage(head: bytes) -> None:
    assert read_header(head) is None


@pytest.mark.parametrize(("version", "named"), [(0x0207, "2.07"), (0x0200, "2.00"), (0x010A, "1.10")])
def test_an_old_boot_protocol_does_not_say_where_the_payload_is(version: int, named: str) -> None:
    with pytest.raises(FormatError, match=f"of boot protocol {named}, which can't be unpacked"):
        read_header(bzimage(PAYLOAD, version=version))


def test_a_payload_at_offset_zero_is_none() -> None:
    image = bytearray(bzimage(PAYLOAD))
    struct.pack_into("<I", image, 0x248, 0)
    with pytest.raises(FormatError, match="which can't be unpacked"):
        read_header(bytes(image))
