"""The channels that libext2fs reads and writes through are let go of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.libext2fs import channel, open_handle
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW

if TYPE_CHECKING:
    from pathlib import Path


def test_no_channel_is_left_behind(disk: Path) -> None:
    before = dict(channel._channels)
    with RawFile(disk, writable=True, durable=False) as blocks:
        open_handle(blocks, writable=True, now=NOW).close()
        open_handle(blocks, writable=True, now=NOW).abandon()
    with disk.open("r+b") as file:
        file.seek(1024)
        file.write(bytes(1024))
    with RawFile(disk) as blocks, pytest.raises(FilesystemError):
        open_handle(blocks, writable=False, now=NOW)
    assert channel._channels == before
    assert not channel._opening
