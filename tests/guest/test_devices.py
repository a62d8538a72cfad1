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
    assert not VM.lack(source, "ext4", ("defaults",))


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
    assert VM.lack(source, "ext4", options)


@pytest.mark.parametrize(
    "source",
    [
        *("proc", "tmpfs", "none", "overlay", "sysfs", "devpts"),
        *("nas:/export", "//nas/share", "host0", "user@host:/dev/x"),
        *("/srv/data", "/swapfile", "/var/disk.img", "rpool/home", "ubi0:rootfs"),
        "/dev/fuse",
    ],
)
def test_what_is_no_disk_lacks_nothing(source: str) -> None:
    assert not VM.lack(source, "ext4", ("defaults",))


@pytest.mark.parametrize("option", ["nofail", "noauto", "x-systemd.automount", "_netdev", "bind", "rbind"])
def test_a_line_that_stops_no_boot_lacks_nothing(option: str) -> None:
    assert not VM.lack("/dev/sda1", "ext4", ("ro", option))


@pytest.mark.parametrize("source", ["/dev/loop0", "/dev/loop0p1", "/dev/zram0", "/dev/nbd1", "/dev/ram0"])
def test_a_device_that_nothing_sets_up_is_lacking_unless_the_line_says_what_does(source: str) -> None:
    lack = VM.lack(source, "ext4", ("defaults",))
    assert lack
    assert source in lack.reason
    assert not VM.lack(source, "ext4", ("x-systemd.requires=up.service",))
    assert not VM.lack(source, "ext4", ("x-systemd.makefs",))
    assert not VM.lack(source, "ext4", ("nofail",))


def test_of_swap_on_devices_that_are_empty_at_boot_only_that_on_zram_is_set_up_by_the_guest() -> None:
    assert not VM.lack("/dev/zram0", "swap", ("sw",))
    assert VM.lack("/dev/loop0", "swap", ("sw",))


@pytest.mark.parametrize(
    "fstype", ["9p", "virtiofs", "vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs", "zfs"]
)
def test_a_share_of_another_host_and_a_pool_are_lacking(fstype: str) -> None:
    assert VM.lack("host0", fstype, ("defaults",))
    assert not VM.lack("host0", fstype, ("noauto",))


def test_a_9p_filesystem_of_a_server_is_no_share_of_the_host() -> None:
    assert VM.lack("host0", "9p", ("trans=virtio",))
    assert not VM.lack("10.0.0.1", "9p", ("trans=tcp",))


def test_no_line_for_the_top_holds_where_it_is_joined_of_two_disks() -> None:
    joined = Devices(frozenset({f"UUID={UUID}"}), disks=2, mounts_root=False)
    lack = joined.lack_of_root(f"UUID={UUID}", "ext4")
    assert lack is not None
    assert f"'UUID={UUID}' is not mounted there" in lack.reason
    assert joined.lack_of_root("overlay", "overlay") is None
    assert VM.lack_of_root(f"UUID={UUID}", "ext4") is None
