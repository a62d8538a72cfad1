from __future__ import annotations

import pytest

from bangerbuild.guest.devices import Devices

UUID = "0a3407de-014b-458b-b5c1-848e92a327a3"
VM = Devices(frozenset({f"UUID={UUID}", "LABEL=work", "LABEL=my disk"}), disks=3)
"""One with a root, a work disk and a data disk."""


@pytest.mark.parametrize(
    "source",
    [
        f"UUID={UUID}",
        f'UUID="{UUID}"',
        "LABEL=work",
        "LABEL=my disk",
        f"/dev/disk/by-uuid/{UUID}",
        "/dev/disk/by-label/my\\x20disk",
        *("/dev/vda", "/dev/vdb", "/dev/vdc"),
        "/dev/root",
    ],
)
def test_a_disk_of_the_vm_is_there_by_each_of_its_names(source: str) -> None:
    assert not VM.lacks(source, ("defaults",))


@pytest.mark.parametrize(
    "source",
    [
        "UUID=11111111-2222-3333-4444-555555555555",
        f"UUID={UUID.upper()}",  # systemd waits for a link of exactly that name
        *("LABEL=UEFI", "PARTUUID=1-2", "PARTLABEL=work", "ID=virtio-x"),
        *("/dev/vdd", "/dev/vda1", "/dev/vdb1"),
        *("/dev/sda", "/dev/sda1", "/dev/xvda1", "/dev/nvme0n1p2", "/dev/mmcblk0p1", "/dev/sr0", "/dev/md0"),
        *("/dev/mapper/vg-home", "/dev/vg/home"),
        *("/dev/disk/by-partuuid/1-2", "/dev/disk/by-id/virtio-x", "/dev/disk/by-path/pci-1"),
        "/dev/disk/by-label/UEFI",
    ],
)
@pytest.mark.parametrize("options", [(), ("defaults",), ("x-systemd.device-timeout=5", "ro")])
def test_any_other_device_is_lacking(source: str, options: tuple[str, ...]) -> None:
    assert VM.lacks(source, options)


@pytest.mark.parametrize(
    "source",
    [
        *("proc", "tmpfs", "none", "overlay", "sysfs", "devpts"),
        *("nas:/export", "//nas/share", "host0", "user@host:/dev/x"),
        *("/srv/data", "/swapfile", "/var/disk.img", "rpool/home", "ubi0:rootfs"),
        *("/dev/loop0", "/dev/zram0", "/dev/fuse", "/dev/nbd1", "/dev/ram0"),
    ],
)
def test_what_is_no_disk_lacks_nothing(source: str) -> None:
    assert not VM.lacks(source, ("defaults",))


@pytest.mark.parametrize("option", ["nofail", "noauto", "x-systemd.automount", "_netdev", "bind", "rbind"])
def test_a_line_that_stops_no_boot_lacks_nothing(option: str) -> None:
    assert not VM.lacks("/dev/sda1", ("ro", option))
