"""The typed manifest: what `manifest` loads and what steps are declared from. Frozen, plain, picklable.

Sizes are bytes. A `HostPath` keeps what the user wrote beside what it stands for: messages show the one, the
program opens the other. Guest paths are absolute; `~` has become `/root`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.errors import Problem
    from bangerbuild.model import HostPath, Secret
    from bangerbuild.modes import Mode
    from bangerbuild.sources.source import BootSource, ImageSource

Times: TypeAlias = Literal["fixed", "host"]
"""Whether a file's mtime is told from its content, or the host's."""


ALL_NODES = "all"
"""What the command line calls all nodes together."""
WORK_LABEL = "work"
"""The label of a work disk's filesystem; that of a data disk is its name."""


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
    overlay_init: bool = False
    """Whether its root filesystem gets the init that joins it with a VM's overlay root."""


@dataclass(frozen=True)
class Root:
    """`[vm.NAME.root]`: what is made of the image for this VM."""

    format: str = "snapshot"
    """The name of a disk format."""
    size_bytes: int | None = None
    """As that format reads it; None: what the image needs."""
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
    cloud_init: Literal["none", "keep"] = field(default="none", metadata={"unless": "none"})
    """Whether cloud-init is told that there is no cloud, where the image was a machine's disk."""


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
    name: str | None = field(default=None, metadata={"recipe": False})
    """Of the `SharedNetwork` that the VM joins; what it takes from there is already filled in."""


@dataclass(frozen=True)
class SharedNetwork:
    """`[network.NAME]`: what the VMs share that join it."""

    name: str
    subnet: str
    """IPv4 with prefix length, `172.16.0.0/16`."""
    gateway: str
    """The default, the first address, is already filled in."""
    dns: tuple[str, ...] = ()
    reserve: tuple[tuple[str, str], ...] = ()
    """Ranges: the first address and the last."""
    bridge: str | None = None
    nat: bool = False

    @property
    def gateway_interface(self) -> str:
        """The gateway with the prefix length of the subnet, as the bridge has it."""
        return f"{self.gateway}/{self.subnet.partition('/')[2]}"


@dataclass(frozen=True)
class Node:
    """`[node.NAME]`: a machine that VMs run on. None: it is not limited."""

    name: str
    vcpus: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class InlineFile:
    """`[[vm.NAME.file]]`: a file whose content stands in the manifest."""

    guest: str
    content: str = field(metadata={"digest": True}, repr=False)
    """Of a secret nothing, until the step that writes it asks for it."""
    mode: int = 0o644
    owner: str = "root:root"
    times: Times = field(default="fixed", metadata={"unless": "fixed"})
    mtime_ns: int | None = field(default=None, metadata={"recipe": False})
    """The manifest's own, if `times` is `host`."""
    secret: Secret | None = field(default=None, metadata={"recipe": False})
    """Where its content comes from; a source of the step, so that a keyed digest of it counts."""
    salt: str = field(default="", metadata={"recipe": False})
    """Of a secret that was asked for, see `Revealed`."""


@dataclass(frozen=True)
class FileSync:
    """`[[vm.NAME.file_sync]]`: a host file or directory, copied recursively."""

    host: HostPath
    guest: str
    mode: Mode | None = None
    """For regular files; None: the host's modes."""
    directory_mode: Mode | None = field(default=None, metadata={"unless": None})
    """For directories that it makes; None: the host's."""
    owner: str = "root:root"
    times: Times = field(default="host", metadata={"recipe": False})
    unusual_times: Times | None = field(default=None, metadata={"key": "times", "unless": None})
    """`times`, if it is not the default of the place where this stands."""
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
    keep_mounts: tuple[str, ...] = ()
    """Targets, and sources of swap, such as `/dev/sda2` and `UUID=…`."""
    root: Root = field(default_factory=Root)
    work: Work | None = None
    """None: no work disk. It is there if the image has a seed or a size is given, unless `work = false`."""
    disks: tuple[Disk, ...] = ()
    guest: GuestDefaults = field(default_factory=GuestDefaults)
    network: Network = field(default_factory=Network)
    files: tuple[InlineFile, ...] = ()
    file_syncs: tuple[FileSync, ...] = ()
    mounts: tuple[Mount, ...] = ()
    renamed_from: tuple[str, ...] = ()
    """What it was called before."""
    node: str | None = None
    """Where it is placed; None: there are no nodes."""

    @property
    def has_keys(self) -> bool:
        """Whether root is to log in by a key."""
        return bool(self.authorized_keys)

    @property
    def disk_labels(self) -> tuple[str, ...]:
        """The labels of the disks beside the root, in the order in which they are attached."""
        return (*((WORK_LABEL,) if self.work else ()), *(disk.name for disk in self.disks))


@dataclass(frozen=True)
class Cache:
    """`[cache]`: registries that hold built images."""

    pull: tuple[str, ...] = ()
    """Where images are looked for, in this order: `docker://registry.example/team/images`."""
    push: str | None = None
    """Where they are pushed to."""
    trust: bool = False
    """Whether what the lock file has no digest for may be taken."""


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
    networks: Mapping[str, SharedNetwork] = field(default_factory=dict)
    absent: tuple[Problem, ...] = ()
    """Files of this host that it names and that are not there, where they need not be."""
    origins: Mapping[str, Path] = field(default_factory=dict)
    """By `vm.NAME` and `network.NAME`: the manifest of the command line that declares it, or includes it."""
    fleets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of their members, in order."""
    leases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What was leased and is not in the lock file yet: by table there and VM."""
    released: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """VMs whose leases end, as another one took them over or as they name their node: by table."""
    cache: Cache = field(default_factory=Cache)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    """VMs that the lock file has on another node, with that one's name."""
    node: str | None = None
    """The node whose share is wanted; None: all that is declared."""

    def is_here(self, vm: VM) -> bool:
        """Whether a VM is part of the share that is wanted."""
        return self.node is None or vm.node == self.node
