"""Stores that are cast must be, byte for byte, what libext2fs would have written; e2fsck judges both."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk import clone, overlay
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.mold import Mold, room
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.errors import SnapshotError
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4, merge
from tests.need import need
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from pathlib import Path

NOW = 946_684_800
PATHS = ("/etc/hostname", "/etc/hosts", "/srv/deep/file")
KINDS = {
    "default": ("-b", "4096"),
    "small blocks": ("-b", "1024"),
    "no checksums": ("-b", "4096", "-O", "^metadata_csum"),
    "seed of its own": ("-b", "4096", "-O", "metadata_csum_seed"),
    "small inodes": ("-b", "4096", "-I", "128"),
    "block maps": ("-b", "1024", "-O", "^extents,^64bit,^metadata_csum"),
    "no flex_bg": ("-b", "2048", "-O", "^flex_bg"),
}


@dataclass(frozen=True)
class Foundry:
    """Makes stores over one base, cast or written by libext2fs alone."""

    base: Path
    directory: Path

    def mold(self, contents: dict[str, bytes]) -> Mold:
        with RawFile(self.base) as base, SnapshotStore.create(base, self._new("mold.cow")) as store:
            return self._written(store, contents)

    def _written(self, store: SnapshotStore, contents: dict[str, bytes]) -> Mold:
        with Filesystem(store, writable=True, now=NOW) as disk:
            for path, content in contents.items():
                disk.write_file(path, content)
            rooms = [found for path in contents if (found := room(disk, path))]
            for found in rooms:
                for at, length in ((found.inode_at, found.inode_bytes), *found.runs):
                    store.keep(at, length)
            superblock = disk.nodes.handle.superblock()
        return Mold(store, superblock, rooms)

    def cast(self, mold: Mold, contents: dict[str, bytes], capacity_bytes: int | None = None) -> Path:
        path = self._new("cast.cow")
        overlay.make_file(path, self.base.stat().st_size, capacity_bytes=capacity_bytes)
        assert mold.cast(path, "cast.cow", list(contents.values())) == clone.digest(path)
        return path

    def alone(self, contents: dict[str, bytes]) -> Path:
        path = self._new("alone.cow")
        with RawFile(self.base) as base, SnapshotStore.create(base, path) as store:
            self._written(store, contents)
        return path

    def merged(self, path: Path) -> Path:
        with RawFile(self.base) as base, SnapshotStore(base, path) as store:
            return merge(self.base, store, self._new("merged.ext4"))

    def _new(self, name: str) -> Path:
        path = self.directory / name
        path.unlink(missing_ok=True)
        return path


@pytest.fixture(scope="module", params=KINDS)
def foundry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Foundry:
    directory = tmp_path_factory.mktemp("foundry")
    base = make_ext4(directory / "base.ext4", *KINDS[request.param], size="16M")
    with RawFile(base, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        disk.write_file("/etc/hostname", b"image\n")  # as a VM may be called
        disk.write_file("/etc/hosts", b"127.0.0.1 localhost\n" * 300)
    return Foundry(base, directory)


def contents(*sizes: int, letter: bytes = b"a") -> dict[str, bytes]:
    return dict(zip(PATHS, (letter * size for size in sizes), strict=True))


def test_a_cast_store_is_what_would_have_been_written(foundry: Foundry) -> None:
    mold = foundry.mold(contents(5, 4000, 9000))
    wanted = contents(900, 3100, 8300, letter=b"b")
    path = foundry.cast(mold, wanted)
    assert path.read_bytes() == foundry.alone(wanted).read_bytes()
    disk = foundry.merged(path)
    assert_clean(disk)
    for guest, content in wanted.items():
        assert debugfs(disk, f"cat {guest}") == content


@settings(SHARED_FIXTURES, max_examples=25)
@given(data=st.data())
def test_any_contents_of_as_many_blocks_give_the_same_bytes(foundry: Foundry, data: st.DataObject) -> None:
    def drawn() -> dict[str, bytes]:
        return {
            path: data.draw(st.binary(min_size=1, max_size=8)) * data.draw(st.integers(1, 64))
            for path in PATHS
        }

    first, second = drawn(), drawn()
    assert foundry.cast(foundry.mold(first), second).read_bytes() == foundry.alone(second).read_bytes()


def test_what_the_base_has_already_does_not_change_what_is_in_a_store(foundry: Foundry) -> None:
    """Else a store's layout would depend on whose content the mold was made with."""
    same = {"/etc/hostname": b"image\n"}
    other = {"/etc/hostname": b"other\n"}
    assert foundry.cast(foundry.mold(other), same).read_bytes() == foundry.alone(same).read_bytes()
    assert foundry.cast(foundry.mold(same), other).read_bytes() == foundry.alone(other).read_bytes()


def test_a_store_that_is_too_small_is_refused_and_left_empty(foundry: Foundry) -> None:
    mold = foundry.mold(contents(5, 4000, 9000))
    with pytest.raises(SnapshotError, match=r"'cast.cow' is full: its 16384 bytes are too few") as caught:
        foundry.cast(mold, contents(5, 4000, 9000), capacity_bytes=16384)
    assert caught.value.hint == "give the store a larger size"
    assert foundry.merged(foundry.directory / "cast.cow").read_bytes() == foundry.base.read_bytes()


def test_the_least_capacity_is_enough(foundry: Foundry) -> None:
    wanted = contents(5, 4000, 9000)
    mold = foundry.mold(wanted)
    with pytest.raises(SnapshotError) as caught:
        foundry.cast(mold, wanted, capacity_bytes=16384)
    least = int(caught.value.brief.split("at least ")[1].split(" ")[0])
    path = foundry.cast(mold, wanted, capacity_bytes=least)
    assert_clean(foundry.merged(path))


def test_a_path_that_is_gone_again_has_no_room(foundry: Foundry) -> None:
    path = foundry.directory / "gone.cow"
    with (
        RawFile(foundry.base) as base,
        SnapshotStore.create(base, path) as store,
        Filesystem(store, writable=True, now=NOW) as disk,
    ):
        disk.write_file("/etc/new", b"x")
        assert room(disk, "/etc/new") is not None
        disk.remove("/etc/new")
        assert room(disk, "/etc/new") is None
        assert room(disk, "/etc") is None
    path.unlink()


def test_the_kinds_are_what_they_are_called(tmp_path: Path) -> None:
    for kind, options in KINDS.items():
        make_ext4(tmp_path / kind, *options, size="16M")
    shown = {
        kind: subprocess.run(
            [need("dumpe2fs", "e2fsprogs"), "-h", tmp_path / kind], check=True, capture_output=True, text=True
        ).stdout
        for kind in KINDS
    }
    assert "metadata_csum_seed" in shown["seed of its own"]
    assert "metadata_csum" not in shown["no checksums"]
    assert "extent" not in shown["block maps"]
    assert "metadata_csum" in shown["default"]
