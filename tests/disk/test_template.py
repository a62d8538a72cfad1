"""Instances must be, byte for byte, what libext2fs would have written; e2fsck judges both."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk import clone, snapshot_store
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.disk.template import FileTemplate, StoreTemplate, locate
from bangerbuild.errors import OverlayError
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
class Maker:
    """Makes stores over one base, instantiated or written by libext2fs alone."""

    base: Path
    directory: Path

    def template(self, contents: dict[str, bytes]) -> StoreTemplate:
        with RawFile(self.base) as base, SnapshotStore.create(base, self._new("template.cow")) as store:
            return self._written(store, contents)

    def _written(self, store: SnapshotStore, contents: dict[str, bytes]) -> StoreTemplate:
        with Filesystem(store, writable=True, now=NOW) as disk:
            for path, content in contents.items():
                disk.write_file(path, content)
            files = [found for path in contents if (found := locate(disk, path))]
            for found in files:
                for at, length in ((found.inode_at, found.inode_bytes), *found.runs):
                    store.keep(at, length)
            superblock = disk.nodes.handle.superblock()
        return StoreTemplate(store, superblock, files)

    def instance(
        self, template: StoreTemplate, contents: dict[str, bytes], capacity_bytes: int | None = None
    ) -> Path:
        path = self._new("instance.cow")
        snapshot_store.make_file(path, self.base.stat().st_size, capacity_bytes=capacity_bytes)
        digest = template.instantiate(
            path, "instance.cow", [(content, NOW * 10**9) for content in contents.values()]
        )
        assert digest == clone.digest(path)
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
def maker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    directory = tmp_path_factory.mktemp("maker")
    base = make_ext4(directory / "base.ext4", *KINDS[request.param], size="16M")
    with RawFile(base, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        disk.write_file("/etc/hostname", b"image\n")  # as a VM may be called
        disk.write_file("/etc/hosts", b"127.0.0.1 localhost\n" * 300)
    return Maker(base, directory)


def contents(*sizes: int, letter: bytes = b"a") -> dict[str, bytes]:
    return dict(zip(PATHS, (letter * size for size in sizes), strict=True))


def test_an_instance_is_what_would_have_been_written(maker: Maker) -> None:
    template = maker.template(contents(5, 4000, 9000))
    wanted = contents(900, 3100, 8300, letter=b"b")
    path = maker.instance(template, wanted)
    assert path.read_bytes() == maker.alone(wanted).read_bytes()
    disk = maker.merged(path)
    assert_clean(disk)
    for guest, content in wanted.items():
        assert debugfs(disk, f"cat {guest}") == content


@settings(SHARED_FIXTURES, max_examples=25)
@given(data=st.data())
def test_any_contents_of_as_many_blocks_give_the_same_bytes(maker: Maker, data: st.DataObject) -> None:
    def drawn() -> dict[str, bytes]:
        return {
            path: data.draw(st.binary(min_size=1, max_size=8)) * data.draw(st.integers(1, 64))
            for path in PATHS
        }

    first, second = drawn(), drawn()
    assert maker.instance(maker.template(first), second).read_bytes() == maker.alone(second).read_bytes()


def test_what_the_base_has_already_does_not_change_what_is_in_a_store(maker: Maker) -> None:
    """Else a store's layout would depend on whose content the template was made with."""
    same = {"/etc/hostname": b"image\n"}
    other = {"/etc/hostname": b"other\n"}
    assert maker.instance(maker.template(other), same).read_bytes() == maker.alone(same).read_bytes()
    assert maker.instance(maker.template(same), other).read_bytes() == maker.alone(other).read_bytes()


def test_a_store_that_is_too_small_is_refused_and_left_empty(maker: Maker) -> None:
    template = maker.template(contents(5, 4000, 9000))
    with pytest.raises(OverlayError, match=r"'instance.cow' is full: its 16384 bytes are too few") as caught:
        maker.instance(template, contents(5, 4000, 9000), capacity_bytes=16384)
    assert caught.value.hint == "give the store a larger size"
    assert maker.merged(maker.directory / "instance.cow").read_bytes() == maker.base.read_bytes()


def test_the_least_capacity_is_enough(maker: Maker) -> None:
    wanted = contents(5, 4000, 9000)
    template = maker.template(wanted)
    with pytest.raises(OverlayError) as caught:
        maker.instance(template, wanted, capacity_bytes=16384)
    least = int(caught.value.brief.split("at least ")[1].split(" ")[0])
    path = maker.instance(template, wanted, capacity_bytes=least)
    assert_clean(maker.merged(path))


def test_a_path_that_is_gone_again_is_not_located(maker: Maker) -> None:
    path = maker.directory / "gone.cow"
    with (
        RawFile(maker.base) as base,
        SnapshotStore.create(base, path) as store,
        Filesystem(store, writable=True, now=NOW) as disk,
    ):
        disk.write_file("/etc/new", b"x")
        assert locate(disk, "/etc/new") is not None
        disk.remove("/etc/new")
        assert locate(disk, "/etc/new") is None
        assert locate(disk, "/etc") is None
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


def test_a_file_template_outlives_the_file_it_was_made_of(tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(b"disk" * 5000)
    template = FileTemplate(tmp_path / "first")
    (tmp_path / "first").unlink()
    assert list(tmp_path.iterdir()) == []
    template.instantiate(tmp_path / "second")
    assert (tmp_path / "second").read_bytes() == b"disk" * 5000
    template.close()
