from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.steps import patching
from bangerbuild.tree import GuestDirectory, GuestFile, GuestRemoval, GuestSymlink
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.fakes import EPOCH
from tests.projects import Disk
from tests.steps.host_trees import synced, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


MIB = 1 << 20


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ext4(tmp_path_factory.mktemp("blank") / "blank.ext4", size="16M")


@pytest.fixture
def path(blank: Path, tmp_path: Path) -> Path:
    """A disk of the test's own."""
    target = tmp_path / "disk.ext4"
    target.write_bytes(blank.read_bytes())
    return target


@pytest.fixture
def disk(path: Path) -> Iterator[Filesystem]:
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True) as filesystem:
        yield filesystem
    assert_clean(path)


def test_changes_are_made_as_they_say(path: Path) -> None:
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True) as disk:
        patching.make(
            disk,
            (
                GuestFile("/gone/a", b""),
                GuestFile("/gone/b", b""),
                GuestRemoval("/gone/a*"),
                GuestFile("/f", b"content", 0o4750, 33, 70_000),
                GuestDirectory("/d", 0o1777, 1, 2),
                GuestSymlink("/l", "../f"),
            ),
            EPOCH,
        )
    seen = Disk(path)
    seen.assert_clean()
    assert seen.names("/gone") == {"b"}
    assert (seen.text("/f"), seen.stat("/f").mode, seen.stat("/f").owner) == ("content", "04750", "33:70000")
    assert (seen.stat("/d").type, seen.stat("/d").mode, seen.stat("/d").owner) == (
        "directory",
        "01777",
        "1:2",
    )
    assert seen.stat("/l").target == "../f"


def test_a_directory_that_is_there_gets_the_mode_and_keeps_what_is_in_it(path: Path) -> None:
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True) as disk:
        disk.make_directory("/d")
        disk.write_file("/d/x", b"stays")
        patching.make(disk, (GuestDirectory("/d", 0o700, 5, 6),), EPOCH)
    seen = Disk(path)
    assert (seen.stat("/d").mode, seen.stat("/d").owner, seen.text("/d/x")) == ("0700", "5:6", "stays")


def test_a_synced_directory_at_the_end_of_a_symlink_keeps_the_symlink(path: Path, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "x").write_text("x")
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True) as disk:
        disk.make_directory("/real")
        disk.make_symlink("/srv", "real")
        patching.sync(disk, synced(tree(host)), {})
    seen = Disk(path)
    seen.assert_clean()
    assert (seen.stat("/srv").target, seen.text("/real/x")) == ("real", "x")
