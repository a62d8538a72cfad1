"""Files and names are synced one by one, or a whole filesystem at once for many; strace says which."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import durable
from tests import PROJECT
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from bangerbuild.disk.durable import sync
sync(sys.argv[2:], Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("count", "calls"), [(0, []), (durable.FEW, ["fsync"] * durable.FEW), (durable.FEW + 1, ["syncfs"])]
)
def test_few_are_synced_each_and_many_by_their_filesystem(
    tmp_path: Path, count: int, calls: list[str]
) -> None:
    paths = [tmp_path / f"{number}" for number in range(count)]
    for path in paths:
        path.mkdir()
    log = tmp_path / "log"
    command = [need("strace"), "-f", "-qq", "-e", "trace=fsync,syncfs", "-o", str(log)]
    subprocess.run(
        [*command, sys.executable, "-c", SCRIPT, tmp_path, *paths],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        check=True,
    )
    assert [line.split()[1].partition("(")[0] for line in log.read_text().splitlines()] == calls


def test_what_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durable.sync([tmp_path / "gone"], tmp_path)
    with pytest.raises(FileNotFoundError):
        durable.sync([tmp_path] * (durable.FEW + 1), tmp_path / "gone")


def test_every_directory_that_is_made_gets_its_name_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path | str] = []
    monkeypatch.setattr(durable, "sync_one", synced.append)
    (tmp_path / "a").mkdir()
    durable.make_directory(tmp_path / "a" / "b" / "c", 0o700)
    assert sorted(map(str, synced)) == [str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    durable.make_directory(tmp_path / "a" / "b" / "c", 0o700)
    assert len(synced) == 2


@pytest.mark.parametrize("code", [errno.EACCES, errno.EINVAL])
def test_a_directory_that_cannot_be_synced_is_no_error_but_a_disk_that_fails_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    failing = code

    def fail(_: object) -> None:
        raise OSError(failing, os.strerror(failing))

    monkeypatch.setattr(durable, "sync_one", fail)
    durable.sync_name(tmp_path / "name")
    failing = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        durable.sync_name(tmp_path / "name")
