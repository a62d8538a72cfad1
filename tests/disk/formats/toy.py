"""Two disk formats that exist in tests only; no program but this one can read them.

`toy` is a header of 4096 bytes, then an ext4 with each byte inverted. It stands on no base, and Firecracker
is said not to take it.

`delta` is a header with the name of its image, then an ext4 as it differs from that: each byte is the
exclusive or of the two. A program, `deltactl`, is said to make a device of it, which takes root. A VM gets
its image read-only, then that device, and an init that joins the two. QEMU is said not to take it. What it
opens is no `Filesystem`, but has what an `OpenedDisk` has.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar, cast

from bangerbuild.disk import making, merging
from bangerbuild.disk.attachment import ATTACHED_ROOT, Attachment, Drive, HostSetup
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.formats.on_blocks import OnBlocks
from bangerbuild.disk.formats.values import SizeRule
from bangerbuild.disk.opened import OpenedDisk
from bangerbuild.errors import FilesystemError, OtherBaseError
from bangerbuild.host.process import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk
    from bangerbuild.tree import DiskMount

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
    programs: ClassVar[tuple[Program, ...]] = ()
    suffix: ClassVar[str] = ".toy"
    stands_on_base: ClassVar[bool] = False
    size: ClassVar[SizeRule] = SizeRule(
        2 * MIB, "too small a toy", "give 2MiB", is_whole_blocks=True, is_of_clone=True
    )

    def base_of(self, path: Path) -> None:  # noqa: ARG002  # it names none
        return None

    def size_of(self, path: Path) -> int:
        return path.stat().st_size - len(HEADER)

    def recognises(self, head: bytes) -> bool:
        return head.startswith(HEADER[:8])

    def attachment(self, root: str, base: str) -> Attachment:  # noqa: ARG002  # it stands on none
        words = ("toy=1",)
        return Attachment(
            (Drive(root, "toy"),),
            about="a toy",
            kernel_words=words,
            refusals={"firecracker": "it plays no games"},
        )

    def over(self, file: Blocks, disk: StoredDisk, stack: ExitStack) -> Blocks:  # noqa: ARG002  # it has no base
        return InvertedBlocks(file)

    def make(self, base: Base, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        raw = job.staging / "raw"
        making.make_clone(base.path, raw, job)
        if size_bytes and size_bytes > raw.stat().st_size:
            making.grow(raw, size_bytes, job.epoch)
        write(raw, disk.path)
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


DELTA_MAGIC = b"DELTA\n"
DELTACTL = Program("deltactl", "attaches deltas")


class DeltaBlocks:
    """The ext4 in a delta and its base."""

    def __init__(self, file: Blocks, base: Blocks) -> None:
        self._file, self._base = file, base
        self.name = file.name
        self.place: str | None = None
        self.size_bytes = file.size_bytes - len(HEADER)
        self.writable = file.writable

    def read(self, offset: int, length: int) -> bytes:
        return self._turned(offset, self._file.read(len(HEADER) + offset, length))

    def write(self, offset: int, data: bytes) -> None:
        self._file.write(len(HEADER) + offset, self._turned(offset, bytes(data)))

    def flush(self) -> None:
        self._file.flush()

    def _turned(self, offset: int, data: bytes) -> bytes:
        """What is stored of data at an offset, or the data of what is stored."""
        there = max(0, min(len(data), self._base.size_bytes - offset))
        return exclusive_or(data, self._base.read(offset, there) if there else b"")


def exclusive_or(data: bytes, under: bytes) -> bytes:
    both = int.from_bytes(data, "big") ^ int.from_bytes(under.ljust(len(data), b"\0"), "big")
    return both.to_bytes(len(data), "big")


class OnlyOpened:
    """A filesystem of which there is no more than an opened disk has."""

    def __init__(self, filesystem: OpenedDisk) -> None:
        self._filesystem = filesystem

    def __getattr__(self, name: str) -> object:
        if name not in {"name", *vars(OpenedDisk)}:
            raise AttributeError(f"an opened disk has no '{name}'")
        return getattr(self._filesystem, name)


class Delta(OnBlocks):
    name: ClassVar[str] = "delta"
    kind: ClassVar[str] = "root-delta"
    version: ClassVar[int] = 3
    tools: ClassVar[tuple[str, ...]] = ()
    programs: ClassVar[tuple[Program, ...]] = (DELTACTL,)
    suffix: ClassVar[str] = ".over.delta"
    stands_on_base: ClassVar[bool] = True
    size: ClassVar[SizeRule] = SizeRule(
        1, "too small a delta", "give more", is_whole_blocks=True, is_of_clone=True
    )

    def base_of(self, path: Path) -> None:  # noqa: ARG002  # it names none
        return None

    def recognises(self, head: bytes) -> bool:
        return head.startswith(DELTA_MAGIC)

    def attachment(self, root: str, base: str) -> Attachment:
        options = {"cloud-hypervisor": {"backing_files": "on"}, "firecracker": {"io_engine": "Async"}}
        return Attachment(
            (Drive(base, is_read_only=True), Drive(ATTACHED_ROOT, options=options)),
            about="a delta to its image",
            setup=HostSetup(
                needs_root=True,
                programs=self.programs,
                packages=("deltas",),
                variables={"delta": root, "image": base},
                functions="is_attached() {\n    [ -L root.dev ]\n}\n",
                prepare='[ -f "$image" ] || fail "there is no image $image"\n',
                attach='is_attached || ln -s "$(deltactl up "$delta" "$image" "$vm")" root.dev\n',
                detach='! is_attached || { deltactl down "$vm" && rm root.dev; }\n',
            ),
            kernel_words=("init=/bin/join",),
            refusals={"qemu": "it knows no deltas"},
        )

    def over(self, file: Blocks, disk: StoredDisk, stack: ExitStack) -> Blocks:
        assert disk.base is not None
        name = file.read(0, len(HEADER)).removeprefix(DELTA_MAGIC).rstrip(b"\0").decode()
        if disk.base.name not in {"", name}:
            raise OtherBaseError.of(disk.name, name, disk.base.name)
        return DeltaBlocks(file, stack.enter_context(RawFile(disk.base.path)))

    @contextmanager
    def opened(
        self,
        disk: StoredDisk,
        *,
        epoch: int,
        place: DiskMount,
        warn: Callable[[str], None] | None = None,
    ) -> Iterator[OpenedDisk]:
        with super().opened(disk, epoch=epoch, place=place, warn=warn) as filesystem:
            yield cast("OpenedDisk", OnlyOpened(filesystem))

    @contextmanager
    def opened_to_write(self, disk: StoredDisk, place: DiskMount, job: DiskJob) -> Iterator[OpenedDisk]:
        with super().opened_to_write(disk, place, job) as filesystem:
            yield cast("OpenedDisk", OnlyOpened(filesystem))

    @contextmanager
    def transaction(self, disk: StoredDisk, place: DiskMount, epoch: int) -> Iterator[OpenedDisk]:
        with super().transaction(disk, place, epoch) as filesystem:
            yield cast("OpenedDisk", OnlyOpened(filesystem))

    def make(self, base: Base, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:  # noqa: ARG002
        """As large as the image: what does not differ is a hole."""
        with disk.path.open("xb") as file:
            file.write((DELTA_MAGIC + base.name.encode()).ljust(len(HEADER), b"\0"))
            file.truncate(len(HEADER) + base.path.stat().st_size)

    def grow(self, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """It is only mended."""
        with job.in_place(disk.name) as path:
            making.refuse_to_shrink(disk.name, path.stat().st_size - len(HEADER), size_bytes)
            self.replay(disk, job)


@contextmanager
def opened_delta(path: Path, base: Path) -> Iterator[DeltaBlocks]:
    """The ext4 in a delta, to be written."""
    with RawFile(path, writable=True) as file, RawFile(base) as under:
        yield DeltaBlocks(file, under)


def unpacked_delta(disk: Path, base: Path, target: Path) -> Path:
    """A raw copy for other programs, by another reader."""
    differences, under = disk.read_bytes()[len(HEADER) :], base.read_bytes()
    target.write_bytes(exclusive_or(differences, under))
    return target
