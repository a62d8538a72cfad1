"""What a disk format is: how a root filesystem is kept in a file of the store, and how a VM gets at it.

A format is one module beside this one, and one line in the registry. It knows nothing of steps, records or
manifests: it is given paths and names, and what it needs of the job that works on a disk is `DiskJob`.
"""

from __future__ import annotations

from abc import abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.disk.attachment import Attachment
    from bangerbuild.disk.checking import CheckRoom, Readable
    from bangerbuild.disk.formats.values import Base, DiskJob, SizeRule, StoredDisk
    from bangerbuild.disk.layers import Layers, Written
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.host.process import Program
    from bangerbuild.tree import DiskMount

S = TypeVar("S")
W = TypeVar("W")

HEAD_BYTES = 4096
"""How much of a file tells its format."""


class DiskFormat(Protocol):
    """One way to keep a root filesystem in a file. Stateless; see `FORMATS`."""

    @property
    def name(self) -> str:
        """What the manifest and the records call it."""

    @property
    def kind(self) -> str:
        """The kind of the step that makes such a root; part of its recipe."""

    @property
    def version(self) -> int:
        """Raised when the same recipe begins to give other bytes; part of the recipe."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs and libraries whose version decides the bytes of a new root."""

    @property
    def programs(self) -> tuple[Program, ...]:
        """What attaching such a root runs on the host, for `doctor`; see `HostSetup`."""

    @property
    def suffix(self) -> str:
        """How the names of such files end: a root's is `root` and this. No two formats have the same."""

    @property
    def stands_on_base(self) -> bool:
        """Whether a disk holds only what differs from its image, and needs it for as long as it lives."""

    @property
    def image_key(self) -> str:
        """The key of `[image.NAME.rootfs]` that has to be true for such roots; empty: none has."""
        return ""

    @property
    def kernel_modules(self) -> Mapping[str, str]:
        """What a guest's kernel has to have for such roots: modules, by the options that build them."""
        return MappingProxyType({})

    @property
    def size(self) -> SizeRule:
        """What the manifest's `size` of such a root may be."""

    @abstractmethod
    def base_of(self, path: Path) -> str | None:
        """The name of the image that a disk says it stands on; None: it does not say, or stands on none.

        Raises:
            OSError: it can't be read.
        """

    def size_of(self, path: Path) -> int:
        """The size in bytes of a disk, as the manifest's `size` counts it."""

    def recognises(self, head: bytes) -> bool:
        """Whether a file that begins with these `HEAD_BYTES`, or fewer, is meant to be of this format."""

    def attachment(self, root: str, base: str) -> Attachment:
        """How a VMM gets at a root.

        Args:
            root: its file name in the VM's directory.
            base: the path of its image, relative to that directory.
        """

    def make(self, base: Base, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """Make a root that holds what its image holds.

        Args:
            base: the image.
            disk: its path, at which nothing is yet, and the name that it will have in the store.
            size_bytes: as the manifest gives it, see `size`; None: as large as the image needs.
            job: whose it is.

        Raises:
            FilesystemError, OverlayError: it can't be made as large or as small as that.
        """

    def fill(self, disk: StoredDisk, layers: Layers[S, W], place: DiskMount, job: DiskJob) -> Written[S, W]:
        """Write layers into a root that `make` has just made; the same bytes whatever else is made with it.

        What several roots get alike may be written once for all of them.
        """

    def opened(
        self,
        disk: StoredDisk,
        *,
        epoch: int,
        place: DiskMount,
        warn: Callable[[str], None] | None = None,
    ) -> AbstractContextManager[OpenedDisk]:
        """The filesystem on a disk, to be read; nothing is touched.

        It is read as it will be once an interrupted change is mended and its journal replayed.

        Args:
            disk: anyone may have written to it.
            epoch: seconds since 1970.
            place: where the guest mounts it; paths are the guest's.
            warn: told that what is read may be old, as the journal can't be replayed; None: that is an error.
        """

    def opened_to_write(
        self, disk: StoredDisk, place: DiskMount, job: DiskJob
    ) -> AbstractContextManager[OpenedDisk]:
        """The filesystem on a disk in staging, which is this job's own."""

    def transaction(
        self, disk: StoredDisk, place: DiskMount, epoch: int
    ) -> AbstractContextManager[OpenedDisk]:
        """The filesystem on a disk where it lies, held by this job; committed at the clean end or not at all.

        Raises:
            FilesystemError: nothing has changed.
        """

    def replay(self, disk: StoredDisk, job: DiskJob) -> None:
        """Replay the journal that a killed guest left on a disk where it lies, and clear its orphans.

        Raises:
            FilesystemError: the journal is damaged, or e2fsck won't do it unasked.
        """

    def grow(self, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """Mend a disk that a guest may have written to, and grow it to its size where it lies.

        Args:
            disk: in the store, under the name that `job` knows it by.
            size_bytes: as the manifest gives it; None: it keeps what it has.
            job: whose it is.

        Raises:
            FilesystemError: it can't be used, or is larger than that.
        """

    def inspect(self, disk: StoredDisk, epoch: int) -> None:
        """Look for what keeps a disk from being used; nothing is touched.

        Raises:
            OtherBaseError: it was made on another image.
            BangerError: it is no such disk, or none in good order.
        """

    def check(self, disk: StoredDisk, room: CheckRoom) -> Readable:
        """Make a disk readable for e2fsck; the disk itself is only read.

        Raises:
            FilesystemError, OverlayError: there is no filesystem, it is marked as having errors, what lies
                beside the disk does not fit, or its journal can't be replayed.
            OSError: there is no room for a copy.
        """
