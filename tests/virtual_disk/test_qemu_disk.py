"""Disks that qemu-img reads: the same bytes as raw, only the range that is asked for, and no other file."""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import Budget, UnpackLimits
from bangerbuild.virtual_disk import qemu_disk
from bangerbuild.virtual_disk.containers import HEADER_BYTES, container_of
from bangerbuild.virtual_disk.qemu_disk import READ_BYTES, QemuDisk
from tests.need import need
from tests.virtual_disk.making import MIB, budget, converted, starts

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.host.process import Command
    from bangerbuild.virtual_disk.tools import Range

FORMS = {"qcow2": (), "qcow2 -c": ("-c",), "vmdk": (), "vhdx": (), "vdi": (), "vpc": ()}


def opened(path: Path) -> QemuDisk:
    """The disk in a file, under the name of `disk`."""
    container = container_of(path.read_bytes()[:HEADER_BYTES])
    assert container is not None
    room = path.with_name("room")
    room.mkdir()
    return QemuDisk(path, container, "disk", room)


def noted_calls(disk: QemuDisk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What qemu-img is called for from now on."""
    calls: list[str] = []
    run = disk._run

    def noted(command: Command) -> str:
        calls.append(command.argv[1])
        return run(command)

    monkeypatch.setattr(disk, "_run", noted)
    return calls


@pytest.mark.parametrize("form", FORMS)
def test_each_format_is_read_as_the_raw_disk_that_it_was_made_of(
    tmp_path: Path, debian: Path, root: Path, form: str
) -> None:
    disk = opened(converted(debian, tmp_path / "a b,c=d:e", form.partition(" ")[0], *FORMS[form]))
    assert disk.size_bytes >= debian.stat().st_size
    start = starts(debian)[1]
    told: list[int] = []
    target = tmp_path / "out"
    disk.copy(start, root.stat().st_size, target, budget=budget(), progress=told.append)
    assert target.read_bytes() == root.read_bytes()
    assert target.stat().st_blocks <= root.stat().st_blocks + 256
    assert told[-1] == root.stat().st_size
    assert disk.read(start + 1024, 1024) == root.read_bytes()[1024:2048]


def test_reads_across_pieces_are_put_together(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(os.urandom(3 * READ_BYTES + 512))
    disk = opened(converted(raw, tmp_path / "disk.qcow2", "qcow2"))
    for at, length in ((READ_BYTES - 3, 7), (10, 2 * READ_BYTES), (3 * READ_BYTES, 512), (0, 0)):
        assert disk.read(at, length) == raw.read_bytes()[at : at + length]


def test_what_is_read_next_is_fetched_in_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(os.urandom(9 * READ_BYTES + 512))
    disk = opened(converted(raw, tmp_path / "disk.qcow2", "qcow2"))
    calls = noted_calls(disk, monkeypatch)
    disk.prepare([(0, 10), (9 * READ_BYTES, 512), (5 * READ_BYTES - 1, 2), (-4, 4), (1 << 40, 5)])
    assert disk.read(5 * READ_BYTES - 1, 2) == raw.read_bytes()[5 * READ_BYTES - 1 :][:2]
    assert disk.read(9 * READ_BYTES, 512) == raw.read_bytes()[-512:]
    assert disk.read(0, 10) == raw.read_bytes()[:10]
    assert len(calls) == 1


def test_one_call_tells_of_many_slices_which_have_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_disk, "slices", lambda _length: iter([(at * MIB, MIB) for at in range(8)]))
    monkeypatch.setattr(qemu_disk, "EXTENTS_AT_ONCE", 64)
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(MIB) + os.urandom(1) + bytes(6 * MIB - 1) + os.urandom(MIB))
    disk = opened(converted(raw, tmp_path / "disk.qcow2", "qcow2"))  # clusters of 64 KiB: 4 MiB at once
    calls = noted_calls(disk, monkeypatch)
    disk.copy(0, 8 * MIB, tmp_path / "out", budget=budget(), progress=lambda _: None)
    assert sorted(calls) == ["convert", "convert", "map", "map"]
    assert (tmp_path / "out").read_bytes() == raw.read_bytes()


def test_a_copy_is_made_of_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu_disk, "slices", lambda _length: iter([(0, MIB), (MIB, MIB), (2 * MIB, 512)]))
    raw = tmp_path / "raw"
    raw.write_bytes(os.urandom(3 * MIB))
    disk = opened(converted(raw, tmp_path / "disk.qcow2", "qcow2", "-c"))
    disk.copy(512, 2 * MIB + 512, tmp_path / "out", budget=budget(), progress=lambda _: None)
    assert (tmp_path / "out").read_bytes() == raw.read_bytes()[512 : 2 * MIB + 1024]


def test_a_slice_without_data_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu_disk, "slices", lambda _length: iter([(at * MIB, MIB) for at in range(8)]))
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(2 * MIB) + os.urandom(MIB))
    os.truncate(raw, 8 * MIB)
    disk = opened(converted(raw, tmp_path / "disk.qcow2", "qcow2", "-c"))
    copied: list[int] = []
    copy_range = disk._copy_range

    def noted(target: Path, what: Range) -> None:
        copied.append(what.start)
        copy_range(target, what)

    monkeypatch.setattr(disk, "_copy_range", noted)
    disk.copy(0, 8 * MIB, tmp_path / "out", budget=budget(), progress=lambda _: None)
    assert copied == [2 * MIB]
    assert (tmp_path / "out").read_bytes() == raw.read_bytes()


def test_after_a_slice_that_fails_no_further_one_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_disk, "slices", lambda _length: iter([(at * MIB, MIB) for at in range(64)]))
    raw = tmp_path / "raw"
    raw.write_bytes(os.urandom(64 * MIB))
    disk = opened(converted(raw, tmp_path / "disk.qcow2", "qcow2"))
    begun: list[int] = []

    def fail(_target: Path, what: Range) -> None:
        begun.append(what.start)
        raise SourceError("no")

    monkeypatch.setattr(disk, "_copy_range", fail)
    with pytest.raises(SourceError, match="no"):
        disk.copy(0, 64 * MIB, tmp_path / "out", budget=budget(), progress=lambda _: None)
    assert len(begun) <= qemu_disk.COPIES
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["qcow2", "qcow2 -c", "vmdk", "vdi", "vhdx", "vpc"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, form: str) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(os.urandom(4 * MIB))
    path = converted(raw, tmp_path / "disk", *form.split())
    os.truncate(path, path.stat().st_size * 5 // 8)
    with pytest.raises(SourceError, match=r"cut short|can't be read") as got:
        opened(path).copy(0, 4 * MIB, tmp_path / "out", budget=budget(), progress=lambda _: None)
    assert got.value.hint is not None
    assert not (tmp_path / "out").exists()


def test_clusters_that_are_the_same_compressed_one_are_no_way_to_fill_the_disk(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(os.urandom(100) * 1000)
    os.truncate(raw, 64 * MIB)
    path = converted(raw, tmp_path / "disk.qcow2", "qcow2", "-c")
    with path.open("r+b") as file:
        (l1_at,) = struct.unpack(">Q", os.pread(file.fileno(), 8, 40))
        (l2_at,) = struct.unpack(">Q", os.pread(file.fileno(), 8, l1_at))
        first = os.pread(file.fileno(), 8, l2_at & ((1 << 56) - 512))
        os.pwrite(file.fileno(), first * 1024, l2_at & ((1 << 56) - 512))
    disk = opened(path)
    with pytest.raises(SourceError, match="unpacks to more than 8 MiB"):
        disk.copy(
            0,
            64 * MIB,
            tmp_path / "out",
            budget=Budget(UnpackLimits(8 * MIB), path.stat().st_size, "disk"),
            progress=lambda _: None,
        )
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_named_as_it_was_written_with_the_command_that_says_more(
    tmp_path: Path, debian: Path
) -> None:
    path = converted(debian, tmp_path / "disk.qcow2", "qcow2")
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xff" * 8, 40)
    with pytest.raises(SourceError, match="'disk' can't be read as a qcow2 disk image") as got:
        opened(path)
    assert got.value.hint == "qemu-img check -f qcow2 'disk'"
    assert str(tmp_path) not in str(got.value.details)
    assert "json:" not in str(got.value.details)


def test_a_base_is_not_opened_even_if_the_header_was_not_looked_at(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_bytes(b"secret" * 1000 + bytes(MIB))
    command = [need("qemu-img", "qemu-utils"), "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw"]
    subprocess.run([*command, tmp_path / "over.qcow2"], check=True)
    base.unlink()
    assert opened(tmp_path / "over.qcow2").read(0, 512) == bytes(512)
