"""What a plan sees of a disk whose guest was killed: what will be there once the journal is replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.snapshot_store import SnapshotStore
from tests.disk.ext4_tools import clone
from tests.disk.journals import Log, blocks_of, differing_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project

IMAGE = '[image.debian.rootfs]\ntar = "root.tar"\nsize = "24MiB"\n'
ID = "vm.web.root.patch"


def kill_guest(project: Project, root: str, content: bytes, **damage: int) -> Path:
    """Have a guest leave a new `/etc/hostname` in its journal alone; gives the disk's file."""
    disk = project.store / "vms" / "web" / f"root.{root}"
    merged = project.guest().path if root == "cow" else disk
    before = merged.with_suffix(".before")
    clone(merged, before)
    (place,) = blocks_of(merged, "/etc/hostname")
    log = Log(merged)
    log.add({place: content.ljust(4096, b"\0")})
    log.superblock(**damage)
    if root == "cow":
        with RawFile(project.base()) as base, SnapshotStore(base, disk, writable=True) as store:
            for block, data in differing_blocks(before, merged, 4096).items():
                store.write(block * 4096, data)
            store.commit()
    return disk


def differences(project: Project) -> dict[str, str | None]:
    return {diff.guest: diff.text or diff.note for diff in project.plan()[ID].diffs}


@pytest.mark.parametrize(("root", "options"), [("cow", ""), ("ext4", 'root = { format = "raw" }\n')])
def test_a_plan_compares_with_what_a_killed_guest_left_in_its_journal(
    root: str, options: str, debian: Project
) -> None:
    debian.write(f'{IMAGE}[vm.web]\nimage = "debian"\n{options}')
    debian.build()
    disk = kill_guest(debian, root, b"xyz\n")
    before = disk.read_bytes()
    debian.write(f'{IMAGE}[vm.web]\nimage = "debian"\nhostname = "new"\n{options}')
    shown = differences(debian)["/etc/hostname"] or ""
    assert [line for line in shown.splitlines() if line[:1] in "+-" and line[1:2] not in "+-"] == [
        "-xyz",
        "+new",
    ]
    assert disk.read_bytes() == before


def test_a_patch_is_blocked_by_a_damaged_journal(debian: Project) -> None:
    debian.write(f'{IMAGE}[vm.web]\nimage = "debian"\n')
    debian.build()
    kill_guest(debian, "cow", b"xyz\n", x0=0)
    debian.write(f'{IMAGE}[vm.web]\nimage = "debian"\nhostname = "new"\n')
    message = "the journal of 'vms/web/root.cow' is damaged: it has no superblock"
    assert debian.blocked("vm.web.root.patch")["message"] == message
