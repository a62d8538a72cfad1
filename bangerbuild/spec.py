"""The typed manifest: what `manifest` loads and what steps are declared from. Frozen, plain, picklable.

Sizes are bytes. A `HostPath` keeps what the user wrote beside what it stands for: messages show the one, the
program opens the other. Guest paths are absolute; `~` has become `/root`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME_PATTERN = "[a-z0-9]([a-z0-9_-]{0,62})"


@dataclass(frozen=True)
class HostPath:
    """A file or directory of the host: its absolute path, and the words that named it in the manifest."""

    path: Path
    written: str


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


@dataclass(frozen=True)
class Image:
    """`[image.NAME]`."""

    name: str
    rootfs: ImageSource
    work_seed: ImageSource | None = None
    kernel: BootSource | None = None
    initrd: BootSource | None = None
    cmdline: str | None = None
    files: tuple[InlineFile, ...] = ()
    """Written into the root filesystem itself."""
    file_syncs: tuple[FileSync, ...] = ()


@dataclass(frozen=True)
class Root:
    """`[vm.NAME.root]`: the exception store over the shared image, or a raw clone of it."""

    format: Literal["snapshot", "raw"] = "snapshot"
    size_bytes: int | None = None
    """A snapshot's capacity (None: room for every block of the image).

    Or a raw root's size: None, the image's; else a multiple of 4096, no less than the image's
    as far as that is known beforehand.
    """
    on_new_base: Literal["block", "keep"] = "block"


@dataclass(frozen=True)
class Work:
    """`[vm.NAME.work]`: the disk that holds /root."""

    size_bytes: int | None = None
    """None: the seed's, and there is one. Else a multiple of 4096."""
    mount: str = "/root"


@dataclass(frozen=True)
class Disk:
    """`[[vm.NAME.disk]]`: a further data disk, made empty."""

    name: str
    """Also its label, so at most 16 bytes."""
    size_bytes: int
    mount: str


@dataclass(frozen=True)
class GuestDefaults:
    """`[vm.NAME.guest]`: which of the default patches are written."""

    hostname: bool = True
    hosts: bool = True
    resolv_conf: bool = True
    sshd: bool = True
    network: bool = True
    fstab: bool = True
    identity: bool = True


@dataclass(frozen=True)
class Network:
    """`[vm.NAME.network]`. Without an address the mode is `none` and `mac` may be None."""

    mode: Literal["bootstrap", "cmdline", "none"] = "none"
    address: str | None = None
    """IPv4 with prefix length, `172.16.0.10/24`."""
    gateway: str | None = None
    dns: tuple[str, ...] = ()
    mac: str | None = None
    """Lower case; the default `06:00` + the address's four bytes is already filled in."""
    tap: str | None = None
    """The default `tap-NAME` is already filled in."""


@dataclass(frozen=True)
class InlineFile:
    """`[[vm.NAME.file]]`: a file whose content stands in the manifest."""

    guest: str
    content: str = field(metadata={"digest": True})
    mode: int = 0o644
    owner: str = "root:root"


@dataclass(frozen=True)
class FileSync:
    """`[[vm.NAME.file_sync]]`: a host file or directory, copied recursively."""

    host: HostPath
    guest: str
    mode: int | None = None
    """For regular files; None: the host's modes."""
    owner: str = "root:root"
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mount:
    """`[[vm.NAME.mount]]`: one fstab line."""

    source: str
    target: str
    fstype: str
    options: tuple[str, ...] = ("defaults",)
    dump: int = 0
    fsck_pass: int = field(default=0, metadata={"key": "pass"})


@dataclass(frozen=True)
class VM:
    """`[vm.NAME]`, with defaults and the file's top-level entries merged in."""

    name: str
    image: str
    hostname: str
    vcpus: int = 1
    memory_bytes: int = 512 << 20
    authorized_keys: tuple[str, ...] = ()
    """Public keys, one line each, read from their files."""
    drop_mounts: tuple[str, ...] = ("/home", "/var")
    root: Root = field(default_factory=Root)
    work: Work | None = None
    """None: no work disk. It is there if the image has a seed or a size is given, unless `work = false`."""
    disks: tuple[Disk, ...] = ()
    guest: GuestDefaults = field(default_factory=GuestDefaults)
    network: Network = field(default_factory=Network)
    files: tuple[InlineFile, ...] = ()
    file_syncs: tuple[FileSync, ...] = ()
    mounts: tuple[Mount, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """One loaded manifest, its includes merged in."""

    store: Path
    """Absolute."""
    images: Mapping[str, Image]
    vms: Mapping[str, VM]
    files: tuple[Path, ...] = ()
    """Every file that was read, the one named on the command line first."""
    warnings: tuple[str, ...] = ()
