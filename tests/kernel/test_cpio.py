from __future__ import annotations

import io
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.kernel.cpio import names
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    for number in range(5):
        (tmp_path / f"file{'x' * number}").write_bytes(bytes(number))
    listed = "".join(f"{path.name}\n" for path in sorted(tmp_path.iterdir())).encode()
    command = [need("cpio"), "-o", "-H", "newc", "--quiet"]
    return subprocess.run(command, input=listed, cwd=tmp_path, capture_output=True, check=True).stdout


def test_every_name_is_found_and_the_stream_is_behind_the_trailer(archive: bytes) -> None:
    stream = io.BytesIO(archive + b"next")
    assert list(names(stream)) == [b"file", b"filex", b"filexx", b"filexxx", b"filexxxx"]
    assert stream.read().lstrip(b"\0") == b"next"


def test_one_that_is_cut_short_has_fewer(archive: bytes) -> None:
    for length in range(0, len(archive), 37):
        assert len(list(names(io.BytesIO(archive[:length])))) <= 5


@given(st.binary(max_size=300))
def test_any_bytes_come_to_an_end(data: bytes) -> None:
    assert len(list(names(io.BytesIO(b"070701" + data)))) <= 3
