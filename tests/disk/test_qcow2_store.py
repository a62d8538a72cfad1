"""The files are judged by qemu-img, and written to by qemu-io as a guest would."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import overlay, qcow2, qcow2_store
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.qcow2_store import Qcow2Store
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import OtherBaseError, OverlayError
from tests.disk.qemu_img import checked, converted
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BASE = "images/one/abc/rootfs.ext4"
SIZE = (6 << 20) + 4096
CLUSTER_BITS = [9, 12, 16, 21]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with a base, and a VM's directory."""
    base = tmp_path / BASE
    base.parent.mkdir(parents=True)
    base.write_bytes(random.Random(1).randbytes(SIZE))  # noqa: S311  # no secret
    (tmp_path / "vms" / "web").mkdir(parents=True)
    return tmp_path


def disk_of(place: Path) -> Path:
    return place / "vms" / "web" / "root.qcow2"


@contextmanager
def opened(place: Path, *, writable: bool = False) -> Iterator[Qcow2Store]:
    disk = disk_of(place)
    if writable:
        with disk.open("r+b") as file:
            file.truncate(disk.stat().st_size + (64 << 20))
    with (
        RawFile(place / BASE) as base,
        Qcow2Store(base, disk, writable=writable, base_name=BASE) as store,
    ):
        yield store
        used_bytes = store.used_bytes
    if writable:
        with disk.open("r+b") as file:
            file.truncate(used_bytes)


def made(place: Path, *, cluster_bits: int = qcow2.DEFAULT_CLUSTER_BITS) -> Path:
    """An empty file, by us for our size of clusters, else by qemu-img."""
    disk = disk_of(place)
    if cluster_bits == qcow2.DEFAULT_CLUSTER_BITS:
        qcow2_store.make_file(disk, SIZE, BASE)
    else:
        options = ["-f", "qcow2", "-o", f"cluster_size={1 << cluster_bits}"]
        backing = ["-F", "raw", "-b", f"../../{BASE}"]
        subprocess.run([need("qemu-img", "qemu-utils"), "create", "-q", *options, *backing, disk], check=True)
    return disk


def content_of(disk: Path) -> bytes:
    """The whole disk, as qemu-img reads it."""
    return converted(disk, disk.with_suffix(".raw")).read_bytes()


def as_guest(disk: Path, *commands: str) -> None:
    """Write with QEMU's own code."""
    arguments = [word for command in commands for word in ("-c", command)]
    subprocess.run(
        [need("qemu-io", "qemu-utils"), "-f", "qcow2", *arguments, str(disk)], check=True, capture_output=True
    )


def write_at_random(store: Qcow2Store, disk: bytearray, seed: int, *, writes: int = 40) -> None:
    chance = random.Random(seed)  # noqa: S311  # no secret
    for _ in range(writes):
        length = chance.choice([1, 512, 4096, 5000, 70_000])
        at = chance.randrange(0, len(disk) - length)
        data = bytes(length) if chance.random() < 0.2 else chance.randbytes(length)
        store.write(at, data)
        disk[at : at + length] = data


@pytest.mark.parametrize("cluster_bits", CLUSTER_BITS)
def test_what_is_written_is_what_qemu_reads_and_its_check_finds_nothing(
    place: Path, cluster_bits: int
) -> None:
    disk, expected = made(place, cluster_bits=cluster_bits), bytearray((place / BASE).read_bytes())
    for seed in range(3):
        with opened(place, writable=True) as store:
            write_at_random(store, expected, seed)
            assert store.read(0, SIZE) == expected
            store.commit()
        with opened(place) as store:
            assert store.read(0, SIZE) == expected
        assert content_of(disk) == expected
        found = checked(disk)
        assert "leaks" not in found
        assert found["image-end-offset"] == disk.stat().st_size


@pytest.mark.parametrize("cluster_bits", CLUSTER_BITS)
def test_what_a_guest_has_written_is_read_and_written_over(place: Path, cluster_bits: int) -> None:
    disk, expected = made(place, cluster_bits=cluster_bits), bytearray((place / BASE).read_bytes())
    as_guest(
        disk,
        "write -P 7 1M 300k",
        "write -z 2M 200k",
        "write -z -u 3M 200k",
        "discard 1M 64k",
        "write -P 9 5M 1k",
    )
    expected[:] = content_of(disk)
    with opened(place, writable=True) as store:
        assert store.read(0, SIZE) == expected
        write_at_random(store, expected, 5, writes=200)
        store.commit()
    assert content_of(disk) == expected
    checked(disk)
    as_guest(disk, "write -P 3 4M 500k", "write -P 4 100k 100k")
    expected[4 << 20 : (4 << 20) + (500 << 10)] = b"\3" * (500 << 10)
    expected[100 << 10 : 200 << 10] = b"\4" * (100 << 10)
    with opened(place) as store:
        assert store.read(0, SIZE) == expected
    checked(disk)


@pytest.mark.parametrize("cluster_bits", CLUSTER_BITS)
def test_a_disk_that_grows_has_zeros_behind_its_base(place: Path, cluster_bits: int) -> None:
    disk, grown_bytes = made(place, cluster_bits=cluster_bits), SIZE + (200 << 20)
    with opened(place, writable=True) as store:
        store.write(100, b"before")
        store.commit()
        store.resize(grown_bytes)
        store.write(grown_bytes - 8192, b"behind")
        assert store.read(SIZE - 10, 30)[10:] == bytes(20)
        store.commit()
    checked(disk)
    content = content_of(disk)
    assert len(content) == grown_bytes
    assert content[100:106] == b"before"
    assert content[-8192:-8186] == b"behind"
    assert not content[SIZE:-8192].strip(b"\0")
    with opened(place) as store:
        assert store.read(0, grown_bytes) == content


def test_many_clusters_take_more_than_one_refcount_block_and_table(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "PENDING_LIMIT_BYTES", 1 << 18)
    disk, expected = made(place, cluster_bits=9), bytearray(random.Random(3).randbytes(SIZE))  # noqa: S311  # no secret
    with opened(place, writable=True) as store:
        store.resize(40 << 20)
        expected += random.Random(4).randbytes((40 << 20) - SIZE)  # noqa: S311  # no secret
        store.write(0, bytes(expected))
        store.commit()
    checked(disk)
    assert content_of(disk) == expected


def test_a_disk_that_grows_and_one_of_qemu_img_get_the_refcount_table_that_cloud_hypervisor_takes_for_granted(
    place: Path,
) -> None:
    wanted = qcow2.refcount_table_clusters_of(16 << 30, qcow2.DEFAULT_CLUSTER_BITS)
    assert wanted > 1
    disk = made(place)
    with opened(place, writable=True) as store:
        store.resize(16 << 30)
        store.commit()
        assert store.header.refcount_clusters == wanted
    checked(disk)
    disk.unlink()
    options = ["-f", "qcow2", "-o", "cluster_size=4k", "-F", "raw", "-b", f"../../{BASE}"]
    command = [need("qemu-img", "qemu-utils"), "create", "-q", *options, str(disk), "16G"]
    subprocess.run(command, check=True)
    with opened(place, writable=True) as store:
        assert store.header.refcount_clusters == 1
        store.write(0, b"x")
        store.commit()
    with opened(place) as store:
        assert (store.header.refcount_clusters, store.read(0, 1)) == (wanted, b"x")
    checked(disk)


def test_a_transaction_that_does_not_commit_leaves_every_byte(place: Path) -> None:
    disk = made(place)
    before = disk.read_bytes()
    with disk.open("r+b") as file:
        file.truncate(64 << 20)
    with RawFile(place / BASE) as base, Transaction(disk, "root.qcow2") as file:
        store = Qcow2Store(base, file)
        file.allow(store.chunk_bytes, store.is_unused)
        store.write(0, b"x" * (4 << 20))
        assert store.read(0, 4 << 20) == b"x" * (4 << 20)
    assert disk.read_bytes()[: len(before)] == before
    checked(disk)


def test_a_new_file_is_the_same_bytes_and_takes_four_clusters(place: Path) -> None:
    disk = made(place)
    assert disk.stat().st_size == 4 << qcow2.DEFAULT_CLUSTER_BITS
    assert disk.read_bytes() == qcow2.empty(SIZE, f"../../{BASE}")
    shown = subprocess.run(
        [need("qemu-img", "qemu-utils"), "info", "--output=json", disk], check=True, capture_output=True
    )
    told = json.loads(shown.stdout)
    assert told["virtual-size"] == SIZE
    assert told["backing-filename"] == f"../../{BASE}"
    assert told["backing-filename-format"] == "raw"
    assert told["full-backing-filename"] == str(disk.parent / "../../" / BASE)


def test_a_file_over_another_base_is_refused(place: Path) -> None:
    disk = disk_of(place)
    qcow2_store.make_file(disk, SIZE, "images/other/abc/rootfs.ext4")
    with RawFile(place / BASE) as base, pytest.raises(OtherBaseError, match="images/other/abc/rootfs"):
        Qcow2Store(base, disk, base_name=BASE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "extended_l2=on"], "has extended L2 entries"),
        (["-o", "compat=0.10"], "of version 2"),
        (["-o", "refcount_bits=64"], "refcounts of 2"),
        (["-o", "data_file=data.raw,data_file_raw=off"], "keeps its data in another file"),
        (["-o", "compression_type=zstd"], "another compression"),
    ],
)
def test_what_is_not_written_here_is_refused_by_name(place: Path, options: list[str], message: str) -> None:
    disk = disk_of(place)
    backing = ["-F", "raw", "-b", f"../../{BASE}"]
    command = [need("qemu-img", "qemu-utils"), "create", "-q", "-f", "qcow2", *options, *backing, str(disk)]
    subprocess.run(command, check=True, cwd=disk.parent)
    with RawFile(place / BASE) as base, pytest.raises(OverlayError, match=message):
        Qcow2Store(base, disk, base_name=BASE)


@pytest.mark.parametrize("cluster_bits", CLUSTER_BITS)
def test_a_file_that_was_not_closed_is_read_and_counted_anew_when_it_is_written(
    place: Path, cluster_bits: int
) -> None:
    disk, expected = made(place, cluster_bits=cluster_bits), bytearray((place / BASE).read_bytes())
    as_guest(disk, "write -P 7 1M 300k", "write -P 8 5M 100k", "discard 1M 64k", "write -z 1200k 64k")
    expected[:] = content_of(disk)
    (refcounts,) = struct.unpack(">Q", disk.read_bytes()[48:56])
    (block,) = struct.unpack(">Q", disk.read_bytes()[refcounts : refcounts + 8])
    with disk.open("r+b") as file:
        file.seek(block)
        file.write(b"\0\1" * 3 + b"\0\5\0\0\0\0" * 2 + bytes(60))
        file.seek(block + (1 << cluster_bits) - 2)
        file.write(b"\0\1")
        file.seek(72)
        file.write(struct.pack(">Q", 1))
    with opened(place, writable=True) as store:
        assert store.read(0, SIZE) == expected
        write_at_random(store, expected, 5)
        store.commit()
    checked(disk)
    assert content_of(disk) == expected


def test_snapshots_bitmaps_and_corrupt_files_are_refused_by_name(place: Path) -> None:
    disk = made(place)
    subprocess.run([need("qemu-img", "qemu-utils"), "snapshot", "-c", "one", disk], check=True)
    with RawFile(place / BASE) as base, pytest.raises(OverlayError, match="has a snapshot inside"):
        Qcow2Store(base, disk, base_name=BASE)
    disk.unlink()
    made(place)
    subprocess.run([need("qemu-img", "qemu-utils"), "bitmap", "--add", disk, "one"], check=True)
    with RawFile(place / BASE) as base, pytest.raises(OverlayError, match="dirty bitmaps"):
        Qcow2Store(base, disk, base_name=BASE)
    for bit, message in ((2, "corrupt"), (1 << 40, "unknown feature 40")):
        disk.unlink()
        made(place)
        with disk.open("r+b") as file:
            file.seek(72)
            file.write(struct.pack(">Q", bit))
        with RawFile(place / BASE) as base, pytest.raises(OverlayError, match=message):
            Qcow2Store(base, disk, base_name=BASE)


def test_a_damaged_file_is_read_as_it_is_or_refused_and_its_base_never_changes(place: Path) -> None:
    disk = made(place)
    as_guest(disk, "write -P 7 1M 300k", "write -P 8 5M 100k")
    whole, base_before = disk.read_bytes(), (place / BASE).read_bytes()
    chance = random.Random(11)  # noqa: S311  # no secret
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(0, 6 << qcow2.DEFAULT_CLUSTER_BITS)
            at = chance.choice(
                [
                    at,
                    chance.randrange(0, 600),
                    (1 << qcow2.DEFAULT_CLUSTER_BITS) + chance.randrange(32),
                    (3 << qcow2.DEFAULT_CLUSTER_BITS) + chance.randrange(16),
                ]
            )
            damaged[at] = chance.randrange(256)
        disk.write_bytes(damaged)
        try:
            with opened(place, writable=True) as store:
                store.read(0, min(store.size_bytes, SIZE))
                store.write(0, b"x")
                store.commit()
        except OverlayError:
            refused += 1
    assert refused > 30
    assert (place / BASE).read_bytes() == base_before
