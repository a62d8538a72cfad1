"""`disk_image = "FILE"`: the disk of a machine, with partitions or without, of which the root is taken."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import superblock
from bangerbuild.errors import SourceError
from bangerbuild.formats import signatures
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.host import observed
from bangerbuild.host.process import Program
from bangerbuild.model import NO_RECIPE
from bangerbuild.sources.bases import DeclaredSize, HostFile, Independent
from bangerbuild.sources.files import FileContent, FileKind, Head, head_of, head_of_named, unpack_disk
from bangerbuild.sources.source import Content, DiskImage
from bangerbuild.virtual_disk import choice, containers, opening, table
from bangerbuild.virtual_disk.extraction import Extraction, check_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.model import Json, Pin
    from bangerbuild.sources.source import OpenContext, SourceTable

AUTO = choice.AUTO
_UNPACKED = "disk.unpacked"
_ROOT = "root.ext4"


@dataclass(frozen=True)
class DiskImageSource(DeclaredSize, Independent, HostFile, FileKind):
    """A virtual disk of the host: raw, also compressed, or in a format that qemu-img reads."""

    word: ClassVar[str] = "disk_image"
    article: ClassVar[str] = "a disk image"
    keys: ClassVar[tuple[str, ...]] = ("partition", "max_size")
    programs: ClassVar[tuple[Program, ...]] = (
        Program("partx", "reads the partition tables of disk images"),
        Program("qemu-img", "reads disk images of the formats qcow2, VMDK, VHDX, VDI and VHD"),
    )
    parts_from_bytes: ClassVar[int | None] = 0

    partition: str = AUTO
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    """How much data the filesystem may hold; None: what is usual."""

    @classmethod
    @override
    def read(cls, table: SourceTable) -> Self | None:
        path, wanted = table.file("disk_image"), partition(table)
        return cls(path, wanted, table.size("size"), table.size("max_size"))

    @classmethod
    @override
    def claims(cls, text: str) -> bool:
        """Also an ext4 that is compressed: `ext4` takes none."""
        head = head_of_named(text)
        if head is None:
            return False
        is_packed_ext4 = head.compression is not None and superblock.has_magic(head.plain)
        return is_packed_ext4 or cls.recognises(head.plain)

    @staticmethod
    @override
    def recognises(head: bytes) -> bool:
        """It has the magic number of a format of virtual disks, or a partition table, and is no CD."""
        is_container = containers.container_of(head) is not None
        return is_container or (table.has_table(head) and not opening.is_cd(head))

    @override
    def notes(self, pin: Pin | None) -> tuple[str, ...]:  # it has none
        with observed.unrecorded():
            return self.notes_of(self._file)

    @staticmethod
    @override
    def notes_of(file: FileContent) -> tuple[str, ...]:
        """Which partition is taken; of a compressed disk with partitions that is seen when it is unpacked."""
        head = _checked_head(file)
        if head.compression:
            return _notes_of_compressed(head, file)
        with opening.opened(file.path, file.written) as (disk, room):
            found = choice.choose(opening.contents(disk, room), disk, file.partition)
            check_sizes(found.content, disk)
        return (str(found),)

    @property
    def _file(self) -> FileContent:
        return FileContent(self.path.path, self.written, self.size_bytes, self.max_size_bytes, self.partition)

    @contextmanager
    @override
    def open(self, context: OpenContext) -> Iterator[Content]:
        with self.open_file(self._file, context) as content:
            yield content

    @staticmethod
    @contextmanager
    @override
    def open_file(file: FileContent, context: OpenContext) -> Iterator[Content]:
        """Only the partition is copied; a compressed file is unpacked for that, and shrinks meanwhile."""
        limits = UnpackLimits(file.max_size_bytes)
        with _uncompressed(file, limits, context) as (path, is_ours):
            target = context.staging / _ROOT
            with opening.opened(path, file.written, context.staging, is_ours=is_ours) as (disk, room):
                found = opening.contents(disk, room)
                chosen = choice.choose(found, disk, file.partition)
                extraction = Extraction(disk, room, limits, file.path.stat().st_size, context)
                extraction.take(chosen.content, target)
                extraction.take_boot(found, chosen.content, target)
        facts: dict[str, Json] = {"partition": {"number": chosen.content.partition.number, "why": chosen.why}}
        number = chosen.content.partition.number
        mend = (
            f"{superblock.PUT_BACK}; or mend partition {number} of a raw copy of it with `e2fsck -f`"
            if number
            else None
        )
        image = DiskImage(target, file.written, file.size_bytes, is_ours=True, mend=mend)
        yield Content(image, facts, is_of_machine=True)


def _checked_head(file: FileContent) -> Head:
    """How a file begins, which may be a disk; of one that is none is said what it is, and what takes it."""
    head = head_of(file.path, file.written)
    found = signatures.identify(head.plain, head.tail)
    is_disk = DiskImageSource.recognises(head.plain) or (found is not None and found.may_hold_a_root)
    if not is_disk:
        raise head.refusal(file.written, "it is no disk image")
    return head


def _notes_of_compressed(head: Head, file: FileContent) -> tuple[str, ...]:
    if file.partition != AUTO:
        return ()
    is_whole = superblock.has_magic(head.plain) and not table.has_table(head.plain)
    if is_whole and containers.container_of(head.plain) is None:
        return ("the whole disk is taken: it has no partition table",)
    return (f"which partition is taken is told when it is read: it is compressed ({head.compression})",)


@contextmanager
def _uncompressed(
    file: FileContent, limits: UnpackLimits, context: OpenContext
) -> Iterator[tuple[Path, bool]]:
    """A file without its compression, and whether it is a copy."""
    if _checked_head(file).compression is None:
        yield file.path, False
        return
    unpacked = context.staging / _UNPACKED
    unpack_disk(
        file.path,
        unpacked,
        written=file.written,
        limits=limits,
        progress=lambda done, total: context.progress(file.written, done, total),
    )
    try:
        yield unpacked, True
    finally:
        unpacked.unlink()


def partition(table: SourceTable) -> str:
    """Which partition a manifest names."""
    given = table.get("partition")
    if isinstance(given, str) and given.isdecimal():
        given = int(given)
    if isinstance(given, int):
        if given not in choice.NUMBERS:
            last = choice.NUMBERS[-1]
            table.problem("partition", f"there is no partition {given}", f"give a number from 1 to {last}")
        return str(given)
    return table.convert("partition", _partition) or AUTO


def _partition(text: str) -> str:
    key, _, value = text.partition("=")
    if text != AUTO and not (key in choice.TAGS and value):
        tags = ", ".join(f"{tag}=…" for tag in choice.TAGS)
        raise SourceError(f"'{text}' names no partition", hint=f"give auto, a number, {tags}")
    return text
