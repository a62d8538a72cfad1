"""Debian as the boot tests need it: tarballs made by mmdebstrap, cached between tests and runs."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.need import lacking, need

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CACHE = Path(__file__).parents[2] / ".cache" / "boot"
TARGET_FORMAT = "$(CODENAME) $(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)"


@dataclass(frozen=True)
class Recipe:
    """What mmdebstrap is asked for. All of it is part of the cached file's name."""

    name: str
    variant: str
    packages: tuple[str, ...]
    suite: str = "bookworm"
    version: int = 1
    """Raised to have everybody's cached tarballs made again."""

    @property
    def file_name(self) -> str:
        """Another recipe is another file, so a cached one is never out of step."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.tar"


ROOTFS = Recipe(
    "rootfs", "minbase", ("systemd", "systemd-sysv", "openssh-server", "udev", "dbus", "iproute2")
)
"""A Debian that systemd boots and sshd listens on; it has no kernel and no modules."""

BOOTABLE = Recipe(
    "bootable", ROOTFS.variant, (*ROOTFS.packages, "linux-image-cloud-amd64", "initramfs-tools", "zstd")
)
"""The same with a kernel, its modules and the initrd that its installation makes."""

KERNEL = Recipe("kernel", "extract", ("linux-image-cloud-amd64", "busybox-static", "dmsetup"))
"""The kernel with its modules and what the initrd runs; unpacked only, nothing is installed anywhere."""

MANAGED = Recipe(
    "managed",
    ROOTFS.variant,
    (
        *(*ROOTFS.packages, "iputils-ping", "systemd-resolved", "netplan.io", "network-manager", "ifupdown"),
        *("isc-dhcp-client", "cloud-init", "dhcpcd", "connman"),
    ),
)
"""The first with every program that configures a network, each enabled as its package does it."""

CLOUD = Recipe(
    "cloud",
    BOOTABLE.variant,
    (
        *(*BOOTABLE.packages, "cloud-init", "cloud-guest-utils", "cloud-initramfs-growroot", "netplan.io"),
        "grub-efi-amd64-bin",
    ),
)
"""The second with what a distribution's cloud image has beside it."""

OPENRC = Recipe(
    "openrc",
    "minbase",
    ("sysvinit-core", "openrc", "udev", "openssh-server", "iproute2", "ifupdown", "isc-dhcp-client"),
)
"""A Debian that OpenRC starts, with a `networking` in its runlevels."""

SELINUX = Recipe("selinux", ROOTFS.variant, (*ROOTFS.packages, "selinux-policy-default", "policycoreutils"))
"""The first with Debian's SELinux policy. Its files have no labels."""


def tarball(recipe: Recipe) -> Path:
    """The recipe's tarball, made on first use; at any instant it is whole or not there."""
    if platform.machine() != "x86_64":
        lacking(f"the boot tests start an amd64 Debian; this machine is {platform.machine()}")
    target = CACHE / recipe.file_name
    with _cache_lock():
        if not target.exists():
            _make(recipe, target)
    return target


def copy_with(recipe: Recipe, target: Path, path: str, content: str) -> None:
    """Copy the recipe's tarball; a further file stands at its end, and so in place of one of that path."""
    shutil.copyfile(tarball(recipe), target)
    entry = tarfile.TarInfo(f".{path}")
    entry.size = len(content)
    with tarfile.open(target, "a") as archive:
        archive.addfile(entry, io.BytesIO(content.encode()))


@dataclass(frozen=True)
class Added:
    """A further file of a tarball: in place of one of that path, if there is one."""

    path: str
    content: str = ""
    mode: int = 0o644
    owner: int = 0
    kind: bytes = tarfile.REGTYPE


def add(target: Path, files: Iterable[Added]) -> None:
    """Put files at the end of a tarball; a directory that is there gets the mode and owner."""
    with tarfile.open(target, "a") as archive:
        for file in files:
            entry = tarfile.TarInfo(f".{file.path}")
            content = file.content.encode()
            entry.type, entry.mode, entry.size = file.kind, file.mode, len(content)
            entry.uid = entry.gid = file.owner
            archive.addfile(entry, io.BytesIO(content))


def content_of(target: Path, path: str) -> str:
    """The content of a file in a tarball."""
    with tarfile.open(target) as archive:
        file = archive.extractfile(f".{path}")
        assert file is not None
        return file.read().decode()


def _make(recipe: Recipe, target: Path) -> None:
    mmdebstrap = need("mmdebstrap")
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        draft = Path(directory, target.name)
        command = [mmdebstrap, f"--variant={recipe.variant}", f"--include={','.join(recipe.packages)}"]
        command += [recipe.suite, str(draft), *_mirrors(recipe.suite)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            said = done.stdout.decode(errors="replace")[-2000:]
            lacking(f"mmdebstrap can't make the {recipe.name} tarball here:\n{said}")
        draft.chmod(0o644)
        draft.rename(target)


def _mirrors(suite: str) -> list[str]:
    """The suite's lines of this host's apt, for a mirror of its own; none: mmdebstrap knows Debian's.

    On another release or distribution apt has no such lines.
    """
    if shutil.which("apt-get") is None:
        return []
    command = ["apt-get", "indextargets", "--format", TARGET_FORMAT, "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    suites = {suite, f"{suite}-updates", f"{suite}-security"}
    targets = [line.split(maxsplit=2) for line in listed]
    return sorted(
        {
            line
            for codename, origin, line in targets
            if codename in suites and origin == "Debian" and line.endswith(" main")
        }
    )


@contextmanager
def _cache_lock() -> Iterator[None]:
    """One process at a time makes tarballs; the kernel lets go of the lock however the process ends."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
