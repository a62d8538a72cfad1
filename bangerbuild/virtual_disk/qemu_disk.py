"""A virtual disk in a format that qemu-img reads, a range at a time: nothing else of it is unpacked."""

from __future__ import annotations

import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk.blocks import check_end
from bangerbuild.disk.superblock import PUT_BACK
from bangerbuild.errors import FilesystemError, SourceError, ToolError
from bangerbuild.host.process import run
from bangerbuild.virtual_disk import tools
from bangerbuild.virtual_disk.disks import SECTOR_BYTES, VirtualDisk, new_file, slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from bangerbuild.formats.limits import Budget
    from bangerbuild.host.process import Command
    from bangerbuild.virtual_disk.containers import Container

READ_BYTES = 256 << 10
"""How much is read for a small read: each call of qemu-img takes about 15 ms."""
MOST_PIECES = 128
"""How many of these are kept."""
MOST_BYTES = 1 << 60
EXTENTS_AT_ONCE = 16384
"""As many clusters, each of which may be an extent, are asked for in one call: a few MiB of JSON."""
COPIES = 2
"""How many calls of qemu-img work on one disk at once."""
_SOURCE = re.compile(r"'?json:\{.*\}'?")


class QemuDisk(VirtualDisk):
    """A disk in a file of such a format.

    Args:
        path: the file, whose header was checked.
        container: what it is.
        written: what messages call it.
        room: a private directory for pieces of it, with nothing else in it.

    Raises:
        SourceError: it is damaged, or qemu-img can't read it.
        ToolError: qemu-img is missing.
    """

    def __init__(self, path: Path, container: Container, written: str, room: Path) -> None:
        self.name = written
        self.place: str | None = written
        self.writable = False
        self._container = container
        self._room = room
        self._pieces: dict[int, bytes] = {}
        (room / tools.SOURCE).symlink_to(path.absolute())
        info = self._info()
        self.size_bytes = self._virtual_bytes(info.get("virtual-size"))
        cluster_bytes = info.get("cluster-size")
        self._mapped_bytes = EXTENTS_AT_ONCE * cluster_bytes if isinstance(cluster_bytes, int) else 0
        """Of how much of the disk is asked at once where its data lies."""

    def _info(self) -> dict[str, object]:
        try:
            return dict(json.loads(self._run(tools.info(self._container, self._room))))
        except (ValueError, TypeError) as err:
            raise SourceError(f"qemu-img does not say what '{self.name}' is") from err

    def _virtual_bytes(self, size: object) -> int:
        if not isinstance(size, int) or not 0 < size <= MOST_BYTES:
            raise SourceError(f"'{self.name}' says that its disk has {size} bytes")
        return size // SECTOR_BYTES * SECTOR_BYTES

    def _run(self, command: Command) -> str:
        try:
            return run(command).output
        except ToolError as err:
            if err.details is None:  # it is missing, or took too long
                raise
            raise SourceError(
                f"'{self.name}' can't be read as a {self._container.name} disk image",
                details=_SOURCE.sub(f"'{self.name}'", err.details),
                hint=f"qemu-img check -f {self._container.driver} '{self.name}'",
            ) from err

    @override
    def read(self, offset: int, length: int) -> bytes:
        check_end(self, offset, length)
        first, end = offset // READ_BYTES, -(-(offset + length) // READ_BYTES)
        data = b"".join(map(self._piece, range(first, end)))
        return data[offset - first * READ_BYTES :][:length]

    def _piece(self, index: int) -> bytes:
        if index not in self._pieces:
            if len(self._pieces) >= MOST_PIECES:
                self._pieces.pop(next(iter(self._pieces)))
            self._read_pieces([index])
        return self._pieces[index]

    def _read_pieces(self, indexes: Sequence[int]) -> None:
        """One call of qemu-img takes as long for many pieces as for one."""
        starts = [index * READ_BYTES for index in indexes]
        ranges = [tools.Range(start, min(READ_BYTES, self.size_bytes - start)) for start in starts]
        file = self._room / "pieces"
        with new_file(file, sum(what.length for what in ranges)):
            self._run(tools.gather(self._container, self._room, file.name, ranges))
            with file.open("rb") as data:
                for index, what in zip(indexes, ranges, strict=True):
                    self._pieces[index] = data.read(what.length)
        file.unlink()

    @override
    def prepare(self, places: Iterable[tuple[int, int]]) -> None:
        wanted = {
            index
            for offset, length in places
            if length > 0
            for index in range(max(0, offset) // READ_BYTES, -(-(offset + length) // READ_BYTES))
            if index * READ_BYTES < self.size_bytes
        }
        missing = sorted(wanted - self._pieces.keys())[: MOST_PIECES - len(self._pieces)]
        if missing:
            self._read_pieces(missing)

    def _copy_range(self, target: Path, what: tools.Range) -> None:
        self._run(tools.copy(self._container, self._room, os.path.relpath(target, self._room), what))

    @override
    def write(self, offset: int, data: bytes) -> None:
        raise FilesystemError(f"'{self.name}' is open for reading only")

    @override
    def flush(self) -> None:
        """Nothing is ever written."""

    @override
    def copy(
        self, start: int, length: int, target: Path, *, budget: Budget, progress: Callable[[int], None]
    ) -> None:
        """Slices are copied side by side: a call of qemu-img keeps hardly more than one core busy."""
        check_end(self, start, length)
        taken, stopped = 0, threading.Event()
        groups = self._groups([tools.Range(start + at, here, at) for at, here in slices(length)])
        with new_file(target, length), ThreadPoolExecutor(COPIES, thread_name_prefix="qemu-img") as pool:
            try:
                ranges = [what for found in pool.map(self._with_data, groups) for what in found]
                copied = pool.map(partial(self._copy_slice, target, stopped), ranges)
                for what, _ in zip(ranges, copied, strict=True):
                    now = target.stat().st_blocks * SECTOR_BYTES
                    budget.spend(now - taken)
                    taken = now
                    progress(what.position + what.length)
                progress(length)
            except BaseException:
                stopped.set()
                raise

    def _groups(self, ranges: Sequence[tools.Range]) -> list[list[tools.Range]]:
        """Ranges that follow each other, together as long as may be mapped at once."""
        groups: list[list[tools.Range]] = []
        for what in ranges:
            if groups and what.position + what.length - groups[-1][0].position <= self._mapped_bytes:
                groups[-1].append(what)
            else:
                groups.append([what])
        return groups

    def _copy_slice(self, target: Path, stopped: threading.Event, what: tools.Range) -> None:
        """Copy a range, unless another failed before."""
        if stopped.is_set():
            return
        try:
            self._copy_range(target, what)
        except BaseException:
            stopped.set()
            raise

    def _with_data(self, ranges: Sequence[tools.Range]) -> list[tools.Range]:
        """Those of some ranges, which follow each other, in which there is data.

        A file that ends before its data is refused: QEMU reads what is missing as zeros, unless it is
        compressed.
        """
        first = ranges[0].start
        whole = tools.Range(first, ranges[-1].start + ranges[-1].length - first)
        try:
            extents = json.loads(self._run(tools.extents(self._container, self._room, whole)))
            data = [one for one in extents if one["data"] and not one["zero"]]
            end = max((one["offset"] + one["length"] for one in data if "offset" in one), default=0)
            runs = [(first + one["start"], first + one["start"] + one["length"]) for one in data]
        except (ValueError, KeyError, TypeError) as err:
            raise SourceError(f"qemu-img does not say where the data of '{self.name}' lies") from err
        there = (self._room / tools.SOURCE).stat().st_size
        if end > there:
            raise SourceError(
                f"'{self.name}' is cut short: its data ends at byte {end}, the file at {there}",
                hint=PUT_BACK,
            )
        return [what for what in ranges if _meets(what, runs)]


def _meets(what: tools.Range, runs: Iterable[tuple[int, int]]) -> bool:
    return any(begin < what.start + what.length and what.start < end for begin, end in runs)
