"""Where the bytes of an image come from, as the manifest names it: one value for each sort of source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bangerbuild.declared import HostPath


@dataclass(frozen=True)
class Pin:
    """What a source elsewhere stood for when it was asked; from then on it stands for that."""

    digest: str
    """sha256, 64 hex digits: of a download, of a container image's manifest, of the tarball of a suite."""
    platform: str | None = None
    """Of a container image, such as `linux/amd64`."""
    versions: str | None = None
    """Of a tarball made of packages: the digest of their names and versions."""


def shown_url(url: str) -> str:
    """An address without what may be secret in it: a name with a password, what is asked for."""
    scheme, _, rest = url.partition("?")[0].partition("#")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


NO_RECIPE = {"recipe": False}
"""Metadata of what says where bytes come from, and not what they are."""


@dataclass(frozen=True)
class Ext4Source:
    """An image of an ext2, ext3 or ext4 filesystem, cloned as it is."""

    path: HostPath
    size_bytes: int | None = field(default=None, metadata={"key": "size"})

    @property
    def written(self) -> str:
        """What messages call it."""
        return self.path.written


@dataclass(frozen=True)
class TarSource:
    """A tarball; its compression is told from its content."""

    path: HostPath
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    """What it may unpack to; None: what is usual."""

    @property
    def written(self) -> str:
        """What messages call it."""
        return self.path.written


@dataclass(frozen=True)
class DirectorySource:
    """A directory of the host. Owners become 0:0 unless `keep_owner`."""

    path: HostPath
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    keep_owner: bool = field(default=False, metadata={"key": "owner"})

    @property
    def written(self) -> str:
        """What messages call it."""
        return self.path.written


@dataclass(frozen=True)
class UrlSource:
    """A tarball or an ext4 to be downloaded; which of the two, and its compression, its content tells."""

    url: str = field(metadata=NO_RECIPE)
    pin: Pin | None = field(default=None, metadata=NO_RECIPE)
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)

    @property
    def written(self) -> str:
        """What messages call it."""
        return shown_url(self.url)


@dataclass(frozen=True)
class OciSource:
    """A container image in a registry, or in a layout of the host: its manifest's digest says what it is."""

    reference: str = field(metadata=NO_RECIPE)
    layout: HostPath | None = field(default=None, metadata=NO_RECIPE)
    """The directory; None: a registry has it."""
    platform: str | None = field(default=None, metadata=NO_RECIPE)
    """As the manifest asks for it; None: what this host runs, or what the lock file has."""
    pin: Pin | None = field(default=None, metadata=NO_RECIPE)
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    entrypoint: str | None = None
    """Where a script is written that runs the image's program."""

    @property
    def written(self) -> str:
        """What messages call it."""
        return self.reference


@dataclass(frozen=True)
class OciArchiveSource:
    """A container image in a tarball of the host: the file's content, the tag and the platform count."""

    path: HostPath
    transport: str
    """`oci-archive` or `docker-archive`."""
    tag: str | None
    platform: str
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)
    entrypoint: str | None = None
    """Where a script is written that runs the image's program."""

    @property
    def written(self) -> str:
        """What messages call it."""
        return f"{self.transport}:{self.path.written}" + (f":{self.tag}" if self.tag else "")


@dataclass(frozen=True)
class MmdebstrapSource:
    """A tarball that mmdebstrap makes of packages; what it was pinned to counts, not what was asked for."""

    suite: str = field(metadata=NO_RECIPE)
    packages: tuple[str, ...] = field(default=(), metadata=NO_RECIPE)
    mirror: str | None = field(default=None, metadata=NO_RECIPE)
    arguments: tuple[str, ...] = field(default=(), metadata=NO_RECIPE)
    pin: Pin | None = field(default=None, metadata=NO_RECIPE)
    size_bytes: int | None = field(default=None, metadata={"key": "size"})
    max_size_bytes: int | None = field(default=None, metadata=NO_RECIPE)

    @property
    def written(self) -> str:
        """What messages call it."""
        return f"mmdebstrap {self.suite}"


@dataclass(frozen=True)
class OtherImage:
    """The same filesystem of another image of the manifest; it counts as an input."""

    image: str = field(metadata=NO_RECIPE)
    key: Literal["rootfs", "work_seed"] = field(default="rootfs", metadata=NO_RECIPE)
    size_bytes: int | None = field(default=None, metadata={"key": "size"})

    @property
    def written(self) -> str:
        """What messages call it."""
        return f"image {self.image}"

    @property
    def step(self) -> str:
        """The id of the step that makes it."""
        return f"image.{self.image}.{self.key}"


ImageSource = (
    Ext4Source
    | TarSource
    | DirectorySource
    | UrlSource
    | OciSource
    | OciArchiveSource
    | MmdebstrapSource
    | OtherImage
)


@dataclass(frozen=True)
class HostBoot:
    """A kernel or initrd that is a file of the host."""

    path: HostPath

    @property
    def written(self) -> str:
        """What messages call it."""
        return self.path.written


@dataclass(frozen=True)
class GuestBoot:
    """A kernel or initrd taken out of the image's own root filesystem."""

    pattern: str = field(metadata={"key": "guest"})
    """An absolute guest path whose last component may be a glob; the newest version that matches is taken."""


@dataclass(frozen=True)
class UrlBoot:
    """A kernel or initrd to be downloaded."""

    url: str = field(metadata=NO_RECIPE)
    pin: Pin | None = field(default=None, metadata=NO_RECIPE)

    @property
    def written(self) -> str:
        """What messages call it."""
        return shown_url(self.url)


BootSource = HostBoot | GuestBoot | UrlBoot
PinnedSource = UrlSource | OciSource | MmdebstrapSource | UrlBoot
"""What stands for bytes only once it is pinned."""
HostFile = TarSource | Ext4Source | OciArchiveSource | HostBoot
"""What is a file of the host."""
