"""Ext4 images mounted by this kernel, which judges what we write and holds what others extract."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.disk.ext4_tools import make_ext4
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def mounted(disk: Path, point: Path, *options: str) -> Iterator[Path]:
    """The disk's root directory for as long as it is mounted; the test is skipped where that can't be."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    point.mkdir(exist_ok=True)
    command = [need("mount"), "-t", "ext4", "-o", ",".join(["loop", *options]), str(disk), str(point)]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("no loop device to mount an ext4 with")
    try:
        yield point
    finally:
        subprocess.run([need("umount", "mount"), str(point)], check=True)


@contextmanager
def extracted(
    tarball: Path, directory: Path, *options: str, size: str = "8G", inodes: int = 200_000
) -> Iterator[Path]:
    """What GNU tar makes of a tarball as root, on an ext4 of its own."""
    disk = make_ext4(directory / "reference.ext4", "-N", str(inodes), size=size)
    with mounted(disk, directory / "reference") as point:
        command = [need("tar"), "--xattrs", "--xattrs-include=*", "--numeric-owner", "--warning=no-timestamp"]
        command += [*options, "-xpf", str(tarball), "-C", str(point)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        yield point
