from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bangerbuild.disk.base import ParsedBase
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.snapshot_store import SnapshotStore
from tests.disk.ext4_tools import NOW, assert_clean, debugfs, merge

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks


def patch(store: SnapshotStore, parsed: ParsedBase | None, name: str) -> None:
    with Filesystem(store, writable=True, now=NOW, parsed=parsed) as fs:
        fs.write_file("/etc/hostname", name.encode(), xattrs={"user.large": b"v" * 900})
        for i in range(60):
            fs.write_file(f"/etc/{'n' * 100}{i}", bytes(i * 500))
        fs.make_symlink("/etc/link", "x" * 100)
        fs.remove("/etc/link")


def overlay(base: Blocks, path: Path, parsed: ParsedBase | None, name: str) -> None:
    with SnapshotStore.create(base, path, durable=False) as store:
        patch(store, parsed, name)


def test_an_overlay_on_a_parsed_base_is_the_same_as_on_its_own(disk: Path, tmp_path: Path) -> None:
    before = disk.read_bytes()
    with RawFile(disk) as base, ParsedBase(base) as parsed:
        overlay(base, tmp_path / "own.cow", None, "vm")
        overlay(base, tmp_path / "other.cow", parsed, "another")
        overlay(base, tmp_path / "shared.cow", parsed, "vm")
        with SnapshotStore(base, tmp_path / "shared.cow") as store:
            merged = merge(disk, store, tmp_path / "merged")
    assert (tmp_path / "own.cow").read_bytes() == (tmp_path / "shared.cow").read_bytes()
    assert disk.read_bytes() == before
    assert_clean(merged)
    assert debugfs(merged, "cat /etc/hostname") == b"vm"


def test_a_store_that_differs_from_its_base_is_parsed_itself(disk: Path, tmp_path: Path) -> None:
    with RawFile(disk) as base, ParsedBase(base) as parsed:
        overlay(base, tmp_path / "s.cow", parsed, "first")
        with SnapshotStore(base, tmp_path / "s.cow", writable=True, durable=False) as store:
            assert not parsed.fits(store)
            patch(store, parsed, "second")
        with SnapshotStore(base, tmp_path / "s.cow") as store:
            merged = merge(disk, store, tmp_path / "merged")
    assert_clean(merged)
    assert debugfs(merged, "cat /etc/hostname") == b"second"


def test_overlays_are_made_in_several_threads_at_once(disk: Path, tmp_path: Path) -> None:
    with RawFile(disk) as base, ParsedBase(base) as parsed:
        overlay(base, tmp_path / "alone.cow", parsed, "vm")

        def make(thread: int) -> None:
            for i in range(10):
                overlay(base, tmp_path / f"{thread}-{i}.cow", parsed if i % 2 else None, "vm")

        threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = (tmp_path / "alone.cow").read_bytes()
    assert all(
        (tmp_path / f"{thread}-{i}.cow").read_bytes() == expected for thread in range(4) for i in range(10)
    )


def test_an_abandoned_overlay_disturbs_nobody(disk: Path, tmp_path: Path) -> None:
    with RawFile(disk) as base, ParsedBase(base) as parsed:
        with SnapshotStore.create(base, tmp_path / "gone.cow") as store:
            fs = Filesystem(store, writable=True, now=NOW, parsed=parsed)
            fs.write_file("/gone", b"x")
            fs.abandon()
        overlay(base, tmp_path / "a.cow", parsed, "vm")
        overlay(base, tmp_path / "b.cow", None, "vm")
    assert (tmp_path / "a.cow").read_bytes() == (tmp_path / "b.cow").read_bytes()
