"""Stores made from what several of them share: byte for byte those that are made alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import clone, deduplication, layers, snapshot_store
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.deduplication import NewStore
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.disk.layers import Layers, OwnFile, OwnLayer, SharedLayer, Written
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import ALONE
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4, merge
from tests.fakes import EPOCH
from tests.steps.workspaces import OneStep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.opened import OpenedDisk


@pytest.fixture
def job(tmp_path: Path) -> Iterator[OneStep]:
    made = OneStep(tmp_path)
    with made.run:
        yield made


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(make_ext4(tmp_path / "base.ext4", size="16M"), "images/base.ext4")


def empty(base: Base, path: Path) -> Path:
    snapshot_store.make_file(path, base.path.stat().st_size, capacity_bytes=None, base_name=base.name)
    return path


def new(base: Base, job: OneStep, name: str) -> NewStore:
    disk = StoredDisk(empty(base, job.staging / name), name, base)
    return NewStore(SnapshotStore, disk, base, deduplication.parsed_base(base, job), ALONE)


def content(name: str, *, text: bytes = b"") -> Layers[str, str]:
    def shared(disk: OpenedDisk) -> str:
        disk.write_file("/shared", b"s" * 10_000)
        return "shared"

    def own(disk: OpenedDisk, below: tuple[str, ...]) -> str:
        disk.write_file("/etc/hostname", text or name.encode())
        disk.write_file("/etc/empty", b"")
        return f"own over {below}"

    files = tuple(
        OwnFile(path, held, EPOCH * 10**9)
        for path, held in {"/etc/hostname": text or name.encode(), "/etc/empty": b""}.items()
    )
    return Layers((SharedLayer("shared", shared),), OwnLayer("own", files, own))


def alone(base: Base, directory: Path, layer: Layers[str, str]) -> Path:
    """What libext2fs alone makes of it."""
    path = empty(base, directory / "alone.cow")
    with RawFile(base.path) as under, RawFile(path, writable=True) as file:
        opened = SnapshotStore(under, file)
        with Filesystem(opened, writable=True, now=EPOCH) as filesystem:
            layers.write(filesystem, layer)
    return path


def merged(base: Base, path: Path) -> Path:
    with RawFile(base.path) as under, SnapshotStore(under, path) as store:
        return merge(base.path, store, path.with_suffix(".merged"))


def test_each_of_several_stores_holds_its_own_and_what_they_share(base: Base, job: OneStep) -> None:
    for name in ("web", "db", "x" * 60):
        store = new(base, job, f"{name}.cow")
        written = deduplication.fill(store, content(name), job)
        assert written == Written(("shared",), "own over ('shared',)")
        disk = merged(base, store.disk.path)
        assert_clean(disk)
        assert debugfs(disk, "cat /etc/hostname") == name.encode()
        assert debugfs(disk, "cat /shared") == b"s" * 10_000
        assert job.digests[store.disk.name] == clone.digest(store.disk.path)


def test_a_store_does_not_depend_on_those_that_are_made_with_it(
    base: Base, job: OneStep, tmp_path: Path
) -> None:
    for name in ("web", "db"):
        deduplication.fill(new(base, job, f"{name}.cow"), content(name), job)
    (tmp_path / "other").mkdir()
    other = OneStep(tmp_path / "other")
    with other.run:
        deduplication.fill(new(base, other, "db.cow"), content("db"), other)
    assert (other.staging / "db.cow").read_bytes() == (job.staging / "db.cow").read_bytes()


def test_it_reads_as_what_libext2fs_alone_makes(base: Base, job: OneStep) -> None:
    store = new(base, job, "web.cow")
    deduplication.fill(store, content("web"), job)
    one, other = merged(base, store.disk.path), merged(base, alone(base, job.staging, content("web")))
    assert one.read_bytes() == other.read_bytes()


def test_nothing_is_left_beside_the_stores(base: Base, job: OneStep) -> None:
    deduplication.fill(new(base, job, "web.cow"), content("web"), job)
    assert not list(job.staging.glob("*.template"))


def test_content_of_another_size_is_another_template(base: Base, job: OneStep) -> None:
    for name, text in (("small", b"x"), ("large", b"y" * 9000)):
        store = new(base, job, f"{name}.cow")
        deduplication.fill(store, content(name, text=text), job)
        disk = merged(base, store.disk.path)
        assert_clean(disk)
        assert debugfs(disk, "cat /etc/hostname") == text


def test_what_does_not_fit_is_told_by_the_store_that_asked_first(base: Base, job: OneStep) -> None:
    store = new(base, job, "web.cow")
    with pytest.raises(FilesystemError, match="no space left"):
        deduplication.fill(store, content("web", text=b"z" * (20 << 20)), job)


def test_a_base_is_parsed_once_for_a_run(base: Base, job: OneStep) -> None:
    assert deduplication.parsed_base(base, job) is deduplication.parsed_base(base, job)
