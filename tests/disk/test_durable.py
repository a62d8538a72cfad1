"""Files and names are synced one by one, or a whole filesystem at once for many; strace says which."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import durable
from tests.conftest import PROJECT
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
