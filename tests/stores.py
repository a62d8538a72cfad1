"""Stores after something was changed in them, and programs that hold them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

    from bangerbuild.store import Store

HOLD = """
import sys
files = [open(name, sys.argv[1]) for name in sys.argv[2:]]
print(flush=True)
sys.stdin.read()
"""


def held(mode: str, *disks: Path) -> subprocess.Popen[bytes]:
    """Another program that has these disks open from now on, until its input ends."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLD, mode, *disks], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    program.stdout.readline()
    return program


@contextmanager
def opened_by_another(disk: Path, mode: str = "r+b") -> Iterator[int]:
    """A process that has a disk open, to write unless said otherwise, as a VM has."""
    with held(mode, disk) as program:
        yield program.pid
        program.communicate()


def short(path: str) -> str:
    """An artifact without its fingerprint."""
    parts = path.split("/")
    return "/".join(parts[:2] + parts[3:]) if parts[0] == "images" else path


def files(store: Path) -> dict[str, tuple[bytes, int, int]]:
    """What lies in a store, but for its own files: bytes, inode and time."""
    return {
        str(path.relative_to(store)): (path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns)
        for top in ("images", "vms")
        for path in sorted((store / top).rglob("*"))
        if path.is_file()
    }


def is_as_published(opened: Store, artifact: str) -> bool:
    """Whether `stat` says of an artifact what it said when it was published or last looked at."""
    stamp, status = opened.stamps.get(artifact), opened.status(artifact)
    return stamp is not None and status is not None and stamp.fits(status)


def allocated(store: Path) -> int:
    """What all files of a store take up, in bytes."""
    return sum(path.lstat().st_blocks * 512 for path in store.rglob("*") if path.is_file())


def copied(store: Path, target: Path) -> Path:
    """A copy of a store, holes and times as they are, in place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run([need("cp", "coreutils"), "-a", "--sparse=always", store, target], check=True)
    return target


def lose_records(store: Path) -> None:
    """Remove every record from a store whose database stays: a stamp of something else is left."""
    with contextlib.closing(sqlite3.connect(store / "state.db")) as database, database:
        for table in ("records", "files", "stamps", "intents"):
            database.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are those above
        database.execute("INSERT INTO stamps VALUES ('vms/elsewhere/disk.ext4', 1, 1, 1, '', 1)")


class Killed(BaseException):
    """Not even cleaning up is possible any more."""


def is_artifact(name: str, directory: object) -> bool:
    """Whether a file of that name is in an open directory, and no file in staging, which have other names."""
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=cast("int", directory), follow_symlinks=False)
        return "/" not in name and "%" not in name
    return False


def killed_after(calls: int, run: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run something that is ended once so many artifacts are gone; whether it came to its end before."""
    left = [calls]

    def counted(call: Callable[..., None]) -> Callable[..., None]:
        def counting(*arguments: object, **named: object) -> None:
            directory = named.get("dir_fd", named.get("src_dir_fd"))
            if directory is not None and is_artifact(str(arguments[0]), directory):
                left[0] -= 1
            if left[0] < 0:  # nothing is done any more, not even to put back what was taken away
                raise Killed
            call(*arguments, **named)

        return counting

    with monkeypatch.context() as patch:
        for name in ("unlink", "rename"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            run()
        except Killed:
            return False
    return True
