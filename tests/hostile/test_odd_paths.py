"""Stores in directories with odd names: what e2fsprogs, shells and terminals take for something else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.projects import Disk

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

MANIFEST = """
[image.a.rootfs]
directory = "tree"
size = "32MiB"
[vm.snapshot]
image = "a"
work.size = "{size}MiB"
[vm.raw]
image = "a"
root.format = "raw"
root.size = "{size}MiB"
[vm.qcow2]
image = "a"
root.format = "qcow2"
root.size = "{size}MiB"
"""
NAMES = [b"a?offset=1", b"a=b,c:d", b"'a' \"b\"\n$c", b"\xff\xfe", b"-a"]


@pytest.mark.parametrize("name", NAMES)
def test_disks_are_made_grown_and_read_there(tmp_path: Path, cli: CommandLine, name: bytes) -> None:
    (tmp_path / "tree" / "etc").mkdir(parents=True)
    store = tmp_path / os.fsdecode(name)
    for size in (40, 64):
        (tmp_path / "vm.toml").write_text(MANIFEST.format(size=size))
        done = cli("apply", "--store", store.name, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    verified = cli("verify", "--store", store.name, cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    for disk in ("raw/root.ext4", "snapshot/work.ext4"):
        plain = tmp_path / "disk.ext4"
        plain.write_bytes((store / "vms" / disk).read_bytes())
        Disk(plain).assert_clean()
        assert plain.stat().st_size == 64 << 20
