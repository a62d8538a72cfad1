"""An I/O manager for libext2fs: its reads and writes become calls on a `Blocks` object.

One manager serves all channels, which are identified by their address; so opening a channel costs little.
"""

from __future__ import annotations

import ctypes
import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bangerbuild.disk.libext2fs.layouts import (
    IoChannel,
    IoManager,
    OnChannel,
    Open,
    SetBlockSize,
    Transfer,
    Transfer64,
    Zero,
)
from bangerbuild.disk.libext2fs.library import CODE_BASE, hold_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.blocks import Blocks

MAGIC_IO_CHANNEL = CODE_BASE + 5
MAGIC_IO_MANAGER = CODE_BASE + 7
_ZEROED_AT_ONCE = 64


class Channel:
    """One `io_channel`: its `Blocks` and the C struct that libext2fs uses."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.block_size = 1024
        self.name = b"blocks"
        self.struct = IoChannel(
            magic=MAGIC_IO_CHANNEL, manager=MANAGER_ADDRESS, name=self.name, block_size=1024, refcount=1
        )
        self.address = ctypes.addressof(self.struct)
        _channels[self.address] = self

    def forget(self) -> None:
        """Drop a channel that libext2fs has not closed, because opening failed."""
        _channels.pop(self.address, None)


_channels: dict[int, Channel] = {}
_opening: dict[bytes, Channel] = {}
_tokens = itertools.count()


@contextmanager
def opening(channel: Channel) -> Iterator[bytes]:
    """A name by which `ext2fs_open2` finds this channel, valid in the with block."""
    token = b"bangerbuild-%d" % next(_tokens)
    _opening[token] = channel
    try:
        yield token
    finally:
        del _opening[token]


def _open(name: bytes, _flags: int, channel_out: Any) -> int:  # noqa: ANN401 - a ctypes pointer
    channel_out[0] = _opening[name].address
    return 0


def _close(channel: int) -> int:
    _channels.pop(channel, None)
    return 0


def _set_block_size(channel: int, size: int) -> int:
    known = _channels[channel]
    known.block_size = known.struct.block_size = size
    return 0


def _read(channel: int, block: int, count: int, data: int) -> int:
    try:
        known = _channels[channel]
        length = count * known.block_size if count >= 0 else -count  # below 0: bytes, not blocks
        ctypes.memmove(data, known.blocks.read(block * known.block_size, length), length)
    except BaseException as error:  # noqa: BLE001 - raised again by _check, once C has returned
        return hold_error(error)
    return 0


def _write(channel: int, block: int, count: int, data: int) -> int:
    try:
        known = _channels[channel]
        length = count * known.block_size if count >= 0 else -count
        known.blocks.write(block * known.block_size, ctypes.string_at(data, length))
    except BaseException as error:  # noqa: BLE001 - raised again by _check, once C has returned
        return hold_error(error)
    return 0


def _write_bytes(channel: int, offset: int, count: int, data: int) -> int:
    try:
        _channels[channel].blocks.write(offset, ctypes.string_at(data, count))
    except BaseException as error:  # noqa: BLE001 - raised again by _check, once C has returned
        return hold_error(error)
    return 0


def _zero(channel: int, block: int, count: int) -> int:
    """Zero blocks; without this function libext2fs would use a buffer that all threads share."""
    try:
        known = _channels[channel]
        for at in range(block, block + count, _ZEROED_AT_ONCE):
            blocks = min(_ZEROED_AT_ONCE, block + count - at)
            known.blocks.write(at * known.block_size, bytes(blocks * known.block_size))
    except BaseException as error:  # noqa: BLE001 - raised again by _check, once C has returned
        return hold_error(error)
    return 0


def _flush(_channel: int) -> int:
    return 0  # Filesystem flushes once, when it is closed


# kept alive by the module, because libext2fs holds no Python reference to the callbacks
_manager = IoManager(
    magic=MAGIC_IO_MANAGER,
    name=b"bangerbuild",
    open=Open(_open),
    close=OnChannel(_close),
    set_blksize=SetBlockSize(_set_block_size),
    read_blk=Transfer(_read),
    write_blk=Transfer(_write),
    flush=OnChannel(_flush),
    write_byte=Transfer(_write_bytes),
    read_blk64=Transfer64(_read),
    write_blk64=Transfer64(_write),
    zeroout=Zero(_zero),
)
MANAGER_ADDRESS = ctypes.addressof(_manager)
