"""A root filesystem of Debian's static busybox, whose start script goes on to run what a test wants."""

from __future__ import annotations

import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

from tests.boot.account import PROJECT
from tests.boot.debian import KERNEL, tarball
from tests.boot.initrd import PackageTree
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


def write_rootfs(rootfs: Path, programs: Path, more: str) -> None:
    """The demo's tree, in a new directory; `programs` becomes another one, which holds busybox.

    Args:
        rootfs: the tree.
        programs: where busybox goes to be found.
        more: shell at the end of the start script.
    """
    programs.mkdir()
    busybox = programs / "busybox"
    with tarfile.open(tarball(KERNEL)) as archive:
        busybox.write_bytes(PackageTree(archive).read(busybox.name))
    busybox.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    demo = PROJECT / "examples" / "vms" / "demo" / "make-rootfs"
    subprocess.run([need("sh"), demo, rootfs], env=os.environ | {"PATH": path}, check=True)
    (rootfs / "etc" / "motd").write_text("")
    with (rootfs / "etc" / "init.d" / "rcS").open("a") as start_script:
        start_script.write(more)
