"""Raw disks as their guest uses them: what it writes in place, and what must be there for ever after."""

from __future__ import annotations

import hashlib
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import make_ext4
from tests.disk.filesystems import make_node
from tests.need import need
from tests.projects import Disk, Project, write_tar
from tests.stores import lose_records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.projects import Found

MIB = 1 << 20
GIB = 1 << 30
IMAGE = '[image.debian.rootfs]\ntar = "root.tar"\nsize = "24MiB"\n'
PRECIOUS: Mapping[str, bytes] = {
    "/precious/thesis.tex": b"\\begin{document}" * 20_000,
    "/precious/empty": b"",
    "/precious/.hidden": b"\0\xff" * 3000,
    "/notes": b"not to be lost\n",
}
"""What a guest has written, by the paths on its disk."""


def vm_disk(project: Project, name: str, vm: str = "web") -> Disk:
    """A disk of a VM as e2fsprogs sees it."""
    return Disk(project.store / "vms" / vm / f"{name}.ext4")


def ext4_seed(path: Path, files: Mapping[str, bytes], size: str = "64M") -> Path:
    """An ext4 image with these files in it."""
    make_ext4(path, size=size)
    with as_guest(path) as disk:
        for name, content in files.items():
            disk.write_file(name, content)
    return path


@contextmanager
def as_guest(path: Path) -> Iterator[Filesystem]:
    """Writes to a disk as a running guest does, in place."""
    with (
        RawFile(path, writable=True) as blocks,
        Filesystem(blocks, writable=True, now=1_700_000_000) as disk,
    ):
        yield disk


def write_precious(path: Path) -> dict[str, tuple[str, Found]]:
    """Write what a guest wants kept; what `precious` has to say from now on."""
    with as_guest(path) as disk:
        for name, content in PRECIOUS.items():
            disk.write_file(name, content, mode=0o640, uid=1000, gid=100)
        disk.make_symlink("/precious/link", "thesis.tex", uid=1000)
        make_node(disk, "/precious/fifo", EntryType.FIFO, uid=1000)
    return precious(path)


def precious(path: Path) -> dict[str, tuple[str, Found]]:
    """What e2fsprogs finds of it: digest and inode of each name."""
    disk = Disk(path)
    disk.assert_clean()
    names = {f"/precious/{name}" for name in disk.names("/precious")} | {"/notes"}
    return {name: (hashlib.sha256(disk.read(name)).hexdigest(), disk.stat(name)) for name in names}


def label(path: Path) -> str:
    """A filesystem's name, as dumpe2fs has it."""
    said = subprocess.run(
        [need("dumpe2fs"), "-h", str(path)], capture_output=True, text=True, check=True
    ).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("Filesystem volume name:")]
    return line.split(":", 1)[1].strip()


def filesystem_bytes(path: Path) -> int:
    """How large a filesystem believes it is."""
    disk = Disk(path)
    return int(disk.superblock("Block count")) * int(disk.superblock("Block size"))


def allocated_bytes(path: Path) -> int:
    """What a file takes on its host."""
    return path.stat().st_blocks * 512


def forget(project: Project) -> None:
    """Lose the store's records, as one does who copies a disk from elsewhere."""
    lose_records(project.store)


def new_base(project: Project, files: Mapping[str, str | bytes]) -> None:
    """The image's source is another one from now on."""
    write_tar(project.directory / "root.tar", {**files, "etc/motd": "a new base\n"})
