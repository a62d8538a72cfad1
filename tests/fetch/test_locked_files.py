"""Files that are their own locks, which others may rename and remove."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild.fetch.locked_files import allocated_bytes, digest_of, is_at, locked, removed_bytes
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "rb")
fcntl.flock(file, int(sys.argv[2]))
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@contextmanager
def held(path: Path, kind: int) -> Iterator[None]:
    """Another process has a file locked."""
    command = [sys.executable, "-c", HOLD, str(path), str(kind)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()


def test_the_digest_is_of_the_whole_file_wherever_it_is_read_at(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        file.seek(100)
        assert digest_of(file.fileno()) == hashlib.sha256(data).hexdigest()
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 100


def test_a_lock_that_is_held_keeps_others_out_until_it_is_closed(path: Path) -> None:
    fd = locked(path, fcntl.LOCK_EX, os.O_RDWR)
    assert is_at(path, fd)
    assert removed_bytes(path) is None
    os.close(fd)
    assert removed_bytes(path) is not None
    assert not path.exists()


def test_readers_share_a_lock(path: Path) -> None:
    with held(path, fcntl.LOCK_SH):
        os.close(locked(path, fcntl.LOCK_SH, os.O_RDONLY))


def test_who_waits_gets_the_file_that_is_there_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = threading.Event()
    monkeypatch.setattr(time, "sleep", lambda _: waited.set())
    found: list[int] = []
    holder = locked(path, fcntl.LOCK_EX, os.O_RDWR)
    thread = threading.Thread(target=lambda: found.append(locked(path, fcntl.LOCK_EX, os.O_RDWR)))
    thread.start()
    assert waited.wait(PATIENCE_SECONDS)
    path.with_name("new").write_bytes(b"new")
    path.with_name("new").replace(path)
    os.close(holder)
    thread.join(PATIENCE_SECONDS)
    assert os.pread(found[0], 10, 0) == b"new"
    os.close(found[0])


def test_a_file_that_is_not_there_is_made_only_on_demand(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        locked(tmp_path / "new", fcntl.LOCK_EX, os.O_RDWR)
    os.close(locked(tmp_path / "new", fcntl.LOCK_EX, os.O_RDWR | os.O_CREAT))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_a_symlink_is_never_followed(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        locked(link, fcntl.LOCK_EX, os.O_RDWR)
    with pytest.raises(OSError, match="symbolic links"):
        removed_bytes(link)
    assert path.read_bytes() == b"content"


def test_a_file_is_at_its_path_until_it_is_replaced_or_gone(path: Path) -> None:
    with path.open("rb") as file:
        assert is_at(path, file.fileno())
        path.rename(path.with_name("moved"))
        assert not is_at(path, file.fileno())
        path.write_bytes(b"content")
        assert not is_at(path, file.fileno())


def test_what_is_removed_frees_what_it_took(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    taken = allocated_bytes((tmp_path / "file").stat())
    assert taken >= 1 << 20
    assert removed_bytes(tmp_path / "file") == taken
    assert removed_bytes(tmp_path / "file") is None


@pytest.mark.parametrize("kind", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_what_another_process_uses_is_not_removed(path: Path, kind: int) -> None:
    with held(path, kind):
        assert removed_bytes(path) is None
    assert path.exists()
