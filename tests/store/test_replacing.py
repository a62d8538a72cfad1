"""A VM that opens a disk at the very instant at which the disk loses its name keeps what it writes."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import in_use
from bangerbuild.errors import BusyError, StoreError
from bangerbuild.store import replacing
from bangerbuild.store.publishing import Staged, put_in_place
from tests.need import need
from tests.stores import held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DISK = "vms/web/work.ext4"
WRITE = 'printf GUEST 1<>"$0"'
READ = 'exec cat "$0"'


class Opener:
    """A program that opens a disk while the disk is renamed: it is there before the rename takes place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, disk: Path, script: str) -> None:
        self.program: subprocess.Popen[bytes] | None = None
        self._disk = disk
        self._script = script
        self._lease = -1
        made, rename = in_use.Lease.__init__, os.rename

        def noted(lease: in_use.Lease, fd: int) -> None:
            made(lease, fd)
            self._lease = fd

        def renamed(*arguments: object, **named: int) -> None:
            if self.program is None:
                self._open()
            rename(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(in_use.Lease, "__init__", noted)
        monkeypatch.setattr(os, "rename", renamed)

    def _open(self) -> None:
        """Start the program, and wait until it waits for the disk."""
        self.program = subprocess.Popen([need("sh", "dash"), "-c", self._script, self._disk])
        while fcntl.fcntl(self._lease, fcntl.F_GETLEASE) == fcntl.F_WRLCK:
            assert self.program.poll() is None, "it did not wait"
            time.sleep(0.01)

    def ended(self) -> int | None:
        return None if self.program is None else self.program.wait()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    (directory / DISK).parent.mkdir(parents=True)
    (directory / DISK).write_text("the old disk")
    return directory


@pytest.fixture
def job(tmp_path: Path) -> Staged:
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging/new").write_text("the new disk")
    return Staged((), {DISK: tmp_path / "staging/new"})


@pytest.fixture
def aside(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    (tmp_path / "aside").mkdir()
    yield lambda artifact: tmp_path / "aside" / artifact.replace("/", "%")
    assert list((tmp_path / "aside").iterdir()) == []


def nobody_uses(root: Path, inode: int) -> Callable[[str], bool]:
    """What the executor asks before each rename: the disk is as it was planned, and nobody has it open."""

    def may_take(artifact: str) -> bool:
        path = root / artifact
        return path.stat().st_ino == inode and path.read_text() == "the old disk" and not in_use.holder(path)

    return may_take


def test_a_disk_that_a_vm_opens_while_it_is_replaced_is_put_back_with_what_the_vm_writes(
    root: Path, job: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    inode = (root / DISK).stat().st_ino
    opener = Opener(monkeypatch, root / DISK, WRITE)
    refused, _ = put_in_place(root, [job], nobody_uses(root, inode))
    assert opener.ended() == 0
    assert refused == [job]
    assert (root / DISK).read_text() == "GUESTld disk"
    assert (root / DISK).stat().st_ino == inode
    assert [path.name for path in job.files[DISK].parent.iterdir()] == ["new"]
    assert job.files[DISK].read_text() == "the new disk"


def test_what_lies_beside_it_is_put_back_too(
    root: Path, job: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / f"{DISK}.redo").write_text("log")
    opener = Opener(monkeypatch, root / DISK, WRITE)
    refused, _ = put_in_place(root, [job], nobody_uses(root, (root / DISK).stat().st_ino))
    assert opener.ended() == 0
    assert refused == [job]
    assert (root / f"{DISK}.redo").read_text() == "log"


def test_who_only_reads_the_old_disk_is_waited_for(
    root: Path, job: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = Opener(monkeypatch, root / DISK, READ)
    refused, _ = put_in_place(root, [job], nobody_uses(root, (root / DISK).stat().st_ino))
    assert opener.ended() == 0
    assert refused == []
    assert (root / DISK).read_text() == "the new disk"
    assert list(job.files[DISK].parent.iterdir()) == []


def test_a_disk_that_nobody_opens_is_replaced_and_leaves_nothing(root: Path, job: Staged) -> None:
    (root / f"{DISK}.redo").write_text("log")
    assert put_in_place(root, [job], lambda _: True)[0] == []
    assert (root / DISK).read_text() == "the new disk"
    assert [path.name for path in (root / DISK).parent.iterdir()] == ["work.ext4"]
    assert list(job.files[DISK].parent.iterdir()) == []


def test_without_leases_programs_are_looked_for_after_the_rename(
    root: Path, job: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, rename = fcntl.fcntl, os.rename
    programs: list[subprocess.Popen[bytes]] = []

    def without_leases(fd: int, command: int, *more: int) -> object:
        if command == fcntl.F_SETLEASE:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return call(fd, command, *more)

    def renamed(*arguments: object, **named: int) -> None:
        if not programs:
            programs.append(held("r+b", root / DISK))
        rename(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "fcntl", without_leases)
    monkeypatch.setattr(os, "rename", renamed)
    inode = (root / DISK).stat().st_ino
    refused, _ = put_in_place(root, [job], lambda _: not programs)
    programs[0].communicate()
    assert refused == [job]
    assert (root / DISK).stat().st_ino == inode


def test_without_hard_links_a_disk_is_replaced_all_the_same(
    root: Path, job: Staged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    assert put_in_place(root, [job], lambda _: True)[0] == []
    assert (root / DISK).read_text() == "the new disk"


def test_a_disk_that_a_vm_opens_while_it_is_removed_stays_and_all_others_too(
    root: Path, aside: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = root / "vms/web/root.cow"
    other.write_text("another")
    opener = Opener(monkeypatch, root / DISK, WRITE)
    inode = (root / DISK).stat().st_ino
    with pytest.raises(BusyError, match=f"'{DISK}' was opened by another program"):
        replacing.remove(root, [DISK, "vms/web/root.cow"], aside)
    assert opener.ended() == 0
    assert (root / DISK).read_text() == "GUESTld disk"
    assert (root / DISK).stat().st_ino == inode
    assert other.read_text() == "another"


def test_what_nobody_opens_is_removed_with_what_lies_beside_it(
    root: Path, aside: Callable[[str], Path]
) -> None:
    (root / f"{DISK}.redo").touch()
    (root / "vms/web/attach.sh").touch()
    replacing.remove(root, [DISK, "vms/web/attach.sh", "vms/web/gone.ext4", "vms/nowhere/root.cow"], aside)
    assert list((root / "vms/web").iterdir()) == []


def test_a_disk_in_use_keeps_all_where_they_are(root: Path, aside: Callable[[str], Path]) -> None:
    with held("r+b", root / DISK) as program:
        with pytest.raises(BusyError, match="is in use by"):
            replacing.remove(root, [DISK], aside)
        program.communicate()
    assert (root / DISK).read_text() == "the old disk"


def test_nothing_is_removed_through_a_symlink(
    root: Path, aside: Callable[[str], Path], tmp_path: Path
) -> None:
    (root / "vms/web").rename(tmp_path / "elsewhere")
    (root / "vms/web").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="nothing is removed outside the store"):
        replacing.remove(root, [DISK], aside)
    assert (tmp_path / "elsewhere/work.ext4").read_text() == "the old disk"
