"""A disk format that exists in tests only: a header of 4096 bytes, then an ext4 with each byte inverted.

It stands on no base, no program but this one can read it, and Firecracker is said not to take it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from bangerbuild.disk import making, merging
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.formats.on_blocks import OnBlocks
from bangerbuild.disk.formats.values import Attachment, Drive, SizeRule
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk

HEADER = b"TOYDISK\n".ljust(4096, b"\0")
INVERTED = bytes(0xFF - byte for byte in range(256))
MIB = 1 << 20


class InvertedBlocks:
    """The ext4 in such a file."""

    def __init__(self, file: Blocks) -> None:
        if file.read(0, len(HEADER)) != HEADER:
            raise FilesystemError(f"'{file.name}' is no toy")
        self._file = file
        self.name = file.name
        self.place: str | None = None
        self.size_bytes = file.size_bytes - len(HEADER)
        self.writable = file.writable

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size_bytes:
            raise FilesystemError(f"'{self.name}' ends before byte {offset + length}")
        return self._file.read(len(HEADER) + offset, length).translate(INVERTED)

    def write(self, offset: int, data: bytes) -> None:
        self._file.write(len(HEADER) + offset, bytes(data).translate(INVERTED))

    def flush(self) -> None:
        self._file.flush()


class Toy(OnBlocks):
    name: ClassVar[str] = "toy"
    kind: ClassVar[str] = "root-toy"
    version: ClassVar[int] = 7
    tools: ClassVar[tuple[str, ...]] = ()
    suffix: ClassVar[str] = ".toy"
    stands_on_base: ClassVar[bool] = False
    size: ClassVar[SizeRule] = SizeRule(
        2 * MIB, "too small a toy", "give 2MiB", is_whole_blocks=True, is_of_clone=True
    )

    def size_of(self, path: Path) -> int:
        return path.stat().st_size - len(HEADER)

    def recognises(self, head: bytes) -> bool:
        return head.startswith(HEADER[:8])

    def attachment(self, root: str, base: str) -> Attachment:  # noqa: ARG002  # it stands on none
        words = ("toy=1",)
        return Attachment(
            (Drive(root, "toy"),), kernel_words=words, refusals={"firecracker": "it plays no games"}
        )

    def over(self, file: Blocks, disk: StoredDisk, stack: ExitStack) -> Blocks:  # noqa: ARG002  # it has no base
        return InvertedBlocks(file)

    def make(self, base: Base, target: Path, size_bytes: int | None, job: DiskJob) -> None:
        raw = job.staging / "raw"
        making.make_clone(base.path, raw, job)
        if size_bytes and size_bytes > raw.stat().st_size:
            making.grow(raw, size_bytes, job.epoch)
        write(raw, target)
        raw.unlink()

    def grow(self, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """In a copy, whatever that takes."""
        old = self.size_of(job.path(disk.name))
        making.refuse_to_shrink(disk.name, old, size_bytes)
        with job.in_place(disk.name):
            self.replay(disk, job)
        if not size_bytes or size_bytes == old:
            return
        raw, copy = job.staging / "raw", job.copy(disk.name, sharing=False)
        assert copy is not None
        with RawFile(copy) as file:
            merging.copy(InvertedBlocks(file), raw)
        making.grow(raw, size_bytes, job.epoch)
        copy.unlink()
        write(raw, copy)
        raw.unlink()


def write(raw: Path, target: Path) -> None:
    """Make the file of a toy that holds what a raw disk holds."""
    with target.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(HEADER)
        file.write(raw.read_bytes().translate(INVERTED))


def unpacked(disk: Path, target: Path) -> Path:
    """A raw copy for other programs, by another reader."""
    target.write_bytes(disk.read_bytes()[len(HEADER) :].translate(INVERTED))
    return target
