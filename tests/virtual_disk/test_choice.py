"""Which partition is the root, in the layouts of distributions, as their build definitions make them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.virtual_disk import choice
from bangerbuild.virtual_disk.choice import Choice, choose
from bangerbuild.virtual_disk.opening import contents, opened
from tests.virtual_disk.making import (
    BIOS,
    BOOT,
    EFI,
    LINUX,
    MIB,
    ROOT_ARM64,
    ROOT_X86_64,
    XBOOTLDR,
    Part,
    disk,
    fat,
    filesystem,
)
from tests.virtual_disk.test_content import made

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture(autouse=True)
def on_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's architecture, whatever it is."""
    monkeypatch.setattr(choice, "own_architecture", lambda: "x86-64")


@dataclass(frozen=True)
class Filesystems:
    """What partitions hold."""

    root: Path
    data: Path
    boot: Path
    esp: Path
    btrfs: Path
    xfs: Path


@pytest.fixture(scope="module")
def have(tmp_path_factory: pytest.TempPathFactory, root: Path, data: Path) -> Filesystems:
    """One of each."""
    at = tmp_path_factory.mktemp("filesystems")
    return Filesystems(
        root,
        data,
        filesystem(at / "boot", BOOT, "-U", "random", size="16M", label="BOOT"),
        fat(at / "esp"),
        made(at / "btrfs", "btrfs"),
        made(at / "xfs", "XFS"),
    )


def chosen(
    path: Path, parts: Sequence[Part], wanted: str = "auto", *, label: str = "gpt", mib: int = 400
) -> Choice:
    """What is taken of such a disk."""
    with opened(disk(path, parts, label=label, mib=mib), "disk") as (blocks, room):
        return choose(contents(blocks, room), blocks, wanted)


def debian(have: Filesystems) -> tuple[Part, ...]:
    """Debian genericcloud (cloud-team/debian-cloud-images, disk_config/GENERIC)."""
    return (
        Part(3, BIOS, number=14),
        Part(10, EFI, have.esp, number=15),
        Part(24, ROOT_X86_64, have.root, number=1),
    )


def ubuntu(have: Filesystems) -> tuple[Part, ...]:
    """Ubuntu minimal (livecd-rootfs, 032-disk-image-uefi.binary)."""
    return (
        Part(4, BIOS, number=14),
        Part(10, EFI, have.esp, number=15),
        Part(16, XBOOTLDR, have.boot, number=16),
        Part(24, LINUX, have.root, number=1),
    )


def fedora(have: Filesystems) -> tuple[Part, ...]:
    """Fedora Cloud Base (kiwi, Fedora.kiwi): btrfs in the last."""
    return (
        Part(2, BIOS, number=1),
        Part(10, EFI, have.esp, name="p.UEFI", number=2),
        Part(16, XBOOTLDR, have.boot, name="p.lxboot", number=3),
        Part(320, ROOT_X86_64, have.btrfs, name="p.lxroot", number=4),
    )


def alpine(have: Filesystems) -> tuple[Part, ...]:
    """Alpine's cloud images with UEFI (alpine-cloud-images, `setup_uefi`)."""
    return (Part(10, EFI, have.esp, number=1), Part(24, LINUX, have.root, number=2))


def mkosi(have: Filesystems) -> tuple[Part, ...]:
    """What `mkosi --format=gpt_ext4` of mkosi 14 leaves, which was looked at: a root by its type alone."""
    return (Part(24, ROOT_X86_64, have.root, name="Root Partition", number=1),)


def amazon(have: Filesystems) -> tuple[Part, ...]:
    """Amazon Linux 2023 for KVM: XFS in the first, and the rest with high numbers."""
    return (
        Part(1, BIOS, number=127),
        Part(10, EFI, have.esp, number=128),
        Part(320, LINUX, have.xfs, name="Linux", number=1),
    )


@pytest.mark.parametrize(("layout", "name"), [(debian, ""), (mkosi, ", 'Root Partition'")])
def test_a_root_by_its_type(tmp_path: Path, have: Filesystems, layout: object, name: str) -> None:
    found = chosen(tmp_path / "disk", layout(have))  # type: ignore[operator]
    assert str(found) == (
        f"partition 1: ext4 'cloudimg-rootfs', 24 MiB, Linux root (x86-64){name} is taken: "
        "its type is Linux root (x86-64)"
    )


@pytest.mark.parametrize(("layout", "number"), [(ubuntu, 1), (alpine, 2)])
def test_a_root_without_its_type_by_what_it_holds(
    tmp_path: Path, have: Filesystems, layout: object, number: int
) -> None:
    found = chosen(tmp_path / "disk", layout(have))  # type: ignore[operator]
    assert found.content.partition.number == number
    assert found.why == "it alone holds /etc and an init"


def test_alpine_for_bios_has_no_table(tmp_path: Path, root: Path) -> None:
    (tmp_path / "disk").symlink_to(root)
    with opened(tmp_path / "disk", "disk") as (blocks, room):
        found = choose(contents(blocks, room), blocks, "auto")
    assert str(found) == "the whole disk is taken: it has no partition table"


def test_fedora_is_refused_by_name_with_what_was_found(tmp_path: Path, have: Filesystems) -> None:
    with pytest.raises(SourceError, match="partition 4 of 'disk' holds a btrfs filesystem") as got:
        chosen(tmp_path / "disk", fedora(have))
    assert str(got.value.details).splitlines() == [
        "1: unknown, 2 MiB, BIOS boot",
        "2: FAT 'UEFI', 10 MiB, EFI system, 'p.UEFI'",
        "3: ext4 'BOOT', 16 MiB, Linux extended boot, 'p.lxboot'",
        "4: btrfs 'one', 320 MiB, Linux root (x86-64), 'p.lxroot'",
    ]
    assert "mount it" in str(got.value.hint)


def test_amazon_linux_is_refused_by_name(tmp_path: Path, have: Filesystems) -> None:
    with pytest.raises(SourceError, match="partition 1 of 'disk' holds an XFS filesystem") as got:
        chosen(tmp_path / "disk", amazon(have))
    assert "no other may be the root" in got.value.brief


@pytest.mark.parametrize(("magic", "at", "name"), [(b"LUKS\xba\xbe", 0, "LUKS"), (b"LVM2 001", 536, "LVM")])
def test_what_has_to_be_opened_first_says_how(tmp_path: Path, magic: bytes, at: int, name: str) -> None:
    (tmp_path / "closed").write_bytes(bytes(at) + magic + bytes(8192))
    with pytest.raises(SourceError, match=f"partition 1 of 'disk' holds an? {name}") as got:
        chosen(tmp_path / "disk", [Part(24, content=tmp_path / "closed")])
    assert {"LUKS": "cryptsetup", "LVM": "vgchange"}[name] in str(got.value.hint)


def test_the_hosts_architecture_counts_if_there_are_two(tmp_path: Path, have: Filesystems) -> None:
    parts = [Part(24, ROOT_ARM64, have.root), Part(24, ROOT_X86_64, have.root)]
    assert chosen(tmp_path / "disk", parts).content.partition.number == 2
    assert chosen(tmp_path / "arm", parts[:1]).why == "its type is Linux root (arm64)"


def test_of_two_roots_one_has_to_be_named(tmp_path: Path, have: Filesystems) -> None:
    parts = [Part(24, content=have.root), Part(24, content=have.root), Part(24, content=have.data)]
    with pytest.raises(SourceError, match="more than one root filesystem: partitions 1 and 2") as got:
        chosen(tmp_path / "disk", parts)
    assert "partition = " in str(got.value.hint)
    assert chosen(tmp_path / "named", parts, "2").content.partition.number == 2


def test_one_linux_filesystem_alone_is_taken_and_of_two_without_init_none(
    tmp_path: Path, have: Filesystems
) -> None:
    alone = chosen(tmp_path / "one", [Part(10, EFI, have.esp), Part(24, content=have.data)])
    assert (alone.content.partition.number, alone.why) == (2, "it is the only Linux filesystem")
    with pytest.raises(SourceError, match="'disk' has no root filesystem"):
        chosen(tmp_path / "two", [Part(24, content=have.data), Part(16, content=have.boot)])


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        *(("LABEL=cloudimg-rootfs", 1), ("LABEL=data", 2), ("PARTLABEL=second", 2), ("3", 3)),
        ("UUID=11111111-2222-3333-4444-555555555555", 1),
        ("PARTUUID=6D6F7265-0000-4000-8000-000000000001", 3),
    ],
)
def test_a_partition_may_be_named(tmp_path: Path, have: Filesystems, wanted: str, number: int) -> None:
    third = Part(16, content=have.boot, uuid="6d6f7265-0000-4000-8000-000000000001")
    parts = [Part(24, content=have.root), Part(24, content=have.data, name="second"), third]
    found = chosen(tmp_path / "disk", parts, wanted)
    assert (found.content.partition.number, found.why) == (number, "`partition` names it")


@pytest.mark.parametrize("wanted", ["LABEL=missing", "7", "PARTLABEL=same"])
def test_a_name_that_fits_none_or_two_is_refused(tmp_path: Path, have: Filesystems, wanted: str) -> None:
    parts = [Part(24, content=have.root, name="same"), Part(24, content=have.data, name="same")]
    with pytest.raises(SourceError, match=f"'disk': (no partition is|2 partitions are) '{wanted}'"):
        chosen(tmp_path / "disk", parts, wanted)


def test_a_named_partition_must_hold_an_ext4_too(tmp_path: Path, have: Filesystems) -> None:
    with pytest.raises(SourceError, match="partition 1 of 'disk' holds a FAT filesystem"):
        chosen(tmp_path / "disk", debian_like(have), "1")


def debian_like(have: Filesystems) -> list[Part]:
    return [Part(10, EFI, have.esp), Part(24, ROOT_X86_64, have.root)]


def test_logical_partitions_are_looked_into(tmp_path: Path, have: Filesystems) -> None:
    parts = (Part(30, "5", number=1), Part(24, "83", have.root, number=5))
    found = chosen(tmp_path / "disk", parts, label="dos", mib=64)
    assert found.content.partition.number == 5


def test_a_disk_of_zeros_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"")
    os.truncate(path, MIB)
    with (
        opened(path, "disk") as (blocks, room),
        pytest.raises(SourceError, match="'disk' holds nothing that is known"),
    ):
        choose(contents(blocks, room), blocks, "auto")
