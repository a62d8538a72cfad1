"""A directory of 100,000 names in the way of every patch, with an index and without."""

from __future__ import annotations

import io
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.populate import populate
from bangerbuild.tree import Entry, EntryType
from tests.disk.ext4_tools import NOW, assert_clean, debugfs, make_ext4
from tests.hostile.running import MIB, digest, run
from tests.manifests import KEY
from tests.need import need
from tests.projects import DEBIAN, Disk, Project
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = 100_000
MANIFEST = """
[image.crowd.rootfs]
ext4 = "crowd.ext4"
[defaults]
image = "crowd"
ssh_authorized_keys = ["{key}"]
network.dns = ["{dns}"]
[vm.cow]
[vm.raw]
root.format = "raw"
"""


def entries() -> Iterator[Entry]:
    """A small Debian whose /etc is crowded."""
    for name, content in DEBIAN.items():
        data = content.encode() if isinstance(content, str) else content
        yield Entry(name, EntryType.FILE, size_bytes=len(data), content=io.BytesIO(data))
    for number in range(NAMES):
        yield Entry(f"etc/of-the-crowd-{number}", EntryType.FIFO)


def make_crowd(path: Path, *, indexed: bool) -> None:
    """Our own engine writes the names, as `mke2fs -d` takes minutes; e2fsck makes the index, and judges."""
    make_ext4(path, "-N", str(NAMES + 1000), size="64M")
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        populate(disk, entries())
    if indexed:
        subprocess.run([need("e2fsck"), "-fyD", path], capture_output=True, check=False)
    assert_clean(path)
    assert (b"Flags: 0x81000" in debugfs(path, "stat /etc")) == indexed


@pytest.fixture(scope="module", params=[True, False], ids=["indexed", "not indexed"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("crowd"))
    make_crowd(project.directory / "crowd.ext4", indexed=request.param)
    project.write(MANIFEST.format(key=KEY, dns="10.0.0.1"))
    run("apply", cwd=project.directory).assert_fine(0)
    return project


def test_a_crowded_directory_is_patched_and_patched_again_in_time(crowd: Project) -> None:
    before = digest(crowd.image("crowd"))
    with crowd.as_guest("cow") as disk:
        disk.write_file("/srv/sentinel", b"the guest's")
    with as_guest(crowd.store / "vms/raw/root.ext4") as disk:
        disk.write_file("/srv/sentinel", b"the guest's")
    crowd.write(MANIFEST.format(key=KEY, dns="10.0.0.2"))
    run("plan", cwd=crowd.directory).assert_fine(0)
    run("apply", cwd=crowd.directory).assert_fine(0)
    for guest in (crowd.guest("cow"), Disk(crowd.store / "vms/raw/root.ext4")):
        guest.assert_clean()
        assert guest.text("/etc/resolv.conf") == "nameserver 10.0.0.2\n"
        assert guest.text("/srv/sentinel") == "the guest's"
        assert len(guest.names("/etc")) > NAMES
    assert digest(crowd.image("crowd")) == before


def test_a_crowded_directory_is_listed_in_time(crowd: Project) -> None:
    listed = run("ls", "-l", "build/vms/cow/root.cow", "/etc", cwd=crowd.directory)
    listed.assert_fine(0)
    assert listed.stdout.count(b" of-the-crowd-") == NAMES
    assert len(listed.stdout) < 20 * MIB
