"""The tests' own initrd: loads virtio and dm-snapshot, mounts the root, hands over to the guest's init.

Written in the kernel's "newc" cpio format (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import re
import stat
import tarfile
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "dm_snapshot", "ext4")
"""What the machine needs; those built into the kernel have no file and are passed over."""

LIBRARIES = (
    *("libdevmapper.so.1.02.1", "libselinux.so.1", "libudev.so.1", "libpcre2-8.so.0"),
    *("libm.so.6", "libpthread.so.0", "libc.so.6"),
)
"""What dmsetup of Debian bookworm is linked with."""

LOADER = "ld-linux-x86-64.so.2"

MOUNT_SNAPSHOT = """\
sectors=$(blockdev --getsz /dev/vda) || fail "no base"
dmsetup create vm --table "0 $sectors snapshot /dev/vda /dev/vdb P 8" \\
    || fail "no snapshot device"
mount -t ext4 /dev/mapper/vm /newroot"""

MOUNT_RAW = "mount -t ext4 /dev/vda /newroot"
MOUNT_READ_ONLY = "mount -t ext4 -o ro /dev/vda /newroot"

INIT = """\
#!/bin/busybox sh
fail() {{
    echo "initrd: $*"
    poweroff -f
}}
export PATH=/bin LD_LIBRARY_PATH=/lib DM_DISABLE_UDEV=1
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/modules/$module" || fail "no module $module"
done </modules.order
{mount_root} || fail "no root filesystem"
mount --move /dev /newroot/dev
init=/sbin/init
for word in $(cat /proc/cmdline); do
    case $word in
    init=*) init=${{word#init=}} ;;
    esac
done
umount /sys /proc
exec switch_root /newroot $init "$@"
"""


@dataclass
class Cpio:
    """A newc archive that grows in memory."""

    content: bytearray = field(default_factory=bytearray)
    inodes: int = 0

    def add(self, name: str, mode: int, content: bytes = b"") -> None:
        """Append one entry; `mode` holds the file type too."""
        self.inodes += 1
        path = name.encode() + b"\0"
        fields = (self.inodes, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        self._padded(b"070701" + b"".join(b"%08X" % number for number in fields) + path)
        self._padded(content)

    def _padded(self, part: bytes) -> None:
        """Headers and contents each end on a multiple of four bytes."""
        self.content += part + bytes(-len(part) % 4)


class PackageTree:
    """Files of unpacked packages, found by their last name: releases differ in /lib and /usr/lib."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            path = PurePosixPath(member.name)
            if "share" in path.parts:  # initramfs-tools keeps hooks there that are named like the programs
                continue
            if member.isfile():
                self._members[path.name] = member
            elif member.issym():
                self._members.setdefault(path.name, member)

    def names(self, prefix: str) -> list[str]:
        """The last names that begin with `prefix`."""
        return [name for name in self._members if name.startswith(prefix)]

    def read(self, name: str) -> bytes:
        """A file's content; a library's name is a link to its versioned name, which is followed."""
        member = self._members[name]
        while member.issym():
            member = self._members[PurePosixPath(member.linkname).name]
        extracted = self._archive.extractfile(member)
        assert extracted is not None
        return extracted.read()

    def module(self, name: str) -> bytes | None:
        """A kernel module; None where it is built in. Files are named with `-` or `_` at will."""
        for spelling in (name, name.replace("_", "-")):
            if f"{spelling}.ko" in self._members:
                return self.read(f"{spelling}.ko")
        return None


def modules_in_order(tree: PackageTree, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """The wanted modules and all they depend on, each after what it depends on."""
    ordered: dict[str, bytes] = {}

    def visit(name: str) -> None:
        content = tree.module(name)
        if content is None or name in ordered:
            return
        for dependency in _depends(content):
            visit(dependency)
        ordered[name] = content

    for name in wanted:
        visit(name)
    return ordered


def _depends(module: bytes) -> list[str]:
    """The `depends=` entry of a module's .modinfo section."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    names = found[1].decode().split(",") if found else []
    return [name.replace("-", "_") for name in names if name]


def build_initrd(tree: PackageTree, mount_root: str, more: tuple[str, ...] = ()) -> bytes:
    """The initrd for a kernel whose packages are in `tree`; `mount_root` is shell, `more` are modules."""
    archive = Cpio()
    for directory in ("bin", "dev", "lib", "lib64", "modules", "newroot", "proc", "sys"):
        archive.add(directory, stat.S_IFDIR | 0o755)
    for program in ("busybox", "dmsetup"):
        archive.add(f"bin/{program}", stat.S_IFREG | 0o755, tree.read(program))
    for library in LIBRARIES:
        archive.add(f"lib/{library}", stat.S_IFREG | 0o644, tree.read(library))
    archive.add(f"lib64/{LOADER}", stat.S_IFREG | 0o755, tree.read(LOADER))
    modules = modules_in_order(tree, (*MODULES, *more))
    for name, content in modules.items():
        archive.add(f"modules/{name}", stat.S_IFREG | 0o644, content)
    archive.add("modules.order", stat.S_IFREG | 0o644, "".join(f"{name}\n" for name in modules).encode())
    archive.add("init", stat.S_IFREG | 0o755, INIT.format(mount_root=mount_root).encode())
    archive.add("TRAILER!!!", 0)
    return bytes(archive.content)


def unpack_kernel(
    packages: Path, directory: Path, mount_root: str = MOUNT_SNAPSHOT, more: tuple[str, ...] = ()
) -> tuple[Path, Path]:
    """Put the kernel and an initrd for it into `directory`; `more` are modules that it loads too."""
    kernel, initrd = directory / "vmlinuz", directory / "initrd.img"
    with tarfile.open(packages) as archive:
        tree = PackageTree(archive)
        (name,) = tree.names("vmlinuz-")
        kernel.write_bytes(tree.read(name))
        initrd.write_bytes(build_initrd(tree, mount_root, more))
    return kernel, initrd
