from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from bangerbuild.declared import VM, Disk, FileSync, GuestDefaults, InlineFile, Mount, Network
from bangerbuild.errors import FilesystemError, GuestPathError, SourceError
from bangerbuild.guest.defaults import changes, identity_changes, split
from bangerbuild.model import HostPath
from bangerbuild.tree import GuestDirectory, GuestEdits, GuestFile, GuestRemoval
from tests.guest.network_managers import images
from tests.guest.view import SYSTEMD, DictView, guest, written

NETWORK = Network("bootstrap", "172.16.0.10/24", "172.16.0.1", ("1.1.1.1",), "06:00:ac:10:00:0a", "tap-web")
WEB = VM("web", "bookworm", "web", network=NETWORK)
DEBIAN = guest(
    {
        **SYSTEMD,
        "/etc/fstab": "/dev/vda / ext4 defaults 0 1\n/dev/vdb /home ext4 defaults 0 2\n",
        "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n",
        "/etc/passwd": "www-data:x:33:33:::\n",
        "/etc/group": "www-data:x:34:\n",
    }
)
SWITCHES = [switch.name for switch in fields(GuestDefaults) if switch.default is True]
ALL_OFF = replace(GuestDefaults(), **dict.fromkeys(SWITCHES, False))  # type: ignore[arg-type]  # all bool
UNIT_DIRECTORY = "/etc/systemd/system"
BY_SWITCH = {
    "hostname": ["/etc/hostname"],
    "hosts": ["/etc/hosts"],
    "resolv_conf": ["/etc/resolv.conf"],
    "sshd": ["/etc/ssh/sshd_config.d/00-bangerbuild.conf"],
    "network": [
        "/etc/bangerbuild/network.conf",
        "/usr/local/sbin/bangerbuild-network",
        f"{UNIT_DIRECTORY}/bangerbuild-network.service",
        f"{UNIT_DIRECTORY}/multi-user.target.wants/bangerbuild-network.service",
    ],
    "fstab": ["/run", "/tmp", "/etc/fstab"],
}


def paths(outcome: GuestEdits) -> list[str]:
    return [change.path for change in outcome.changes]


def sync(guest_path: str) -> FileSync:
    return FileSync(HostPath(Path("/src/x"), "x"), guest_path)


def test_by_default_a_vm_gets_every_default_in_one_order() -> None:
    outcome = changes(WEB, DEBIAN)
    assert paths(outcome) == [path for group in BY_SWITCH.values() for path in group]
    assert outcome.warnings == ()


@pytest.mark.parametrize("switch", BY_SWITCH)
def test_each_switch_turns_off_its_own_paths_and_no_others(switch: str) -> None:
    off = replace(WEB, guest=replace(GuestDefaults(), **{switch: False}))  # type: ignore[arg-type]  # bool
    gone = set(paths(changes(WEB, DEBIAN))) - set(paths(changes(off, DEBIAN)))
    assert gone == set(BY_SWITCH[switch])


def test_with_all_switches_off_nothing_is_written() -> None:
    vm = replace(WEB, guest=ALL_OFF)
    assert changes(vm, DEBIAN) == GuestEdits()
    assert identity_changes(vm, DEBIAN) == GuestEdits()


def test_without_dns_the_images_resolv_conf_stays() -> None:
    vm = replace(WEB, network=replace(NETWORK, dns=()))
    assert "/etc/resolv.conf" not in paths(changes(vm, DEBIAN))


def test_dns_is_written_without_an_address_too() -> None:
    vm = replace(WEB, network=Network(dns=("9.9.9.9",)))
    assert written(changes(vm, DEBIAN))["/etc/resolv.conf"] == b"nameserver 9.9.9.9\n"


NM = "/etc/NetworkManager/conf.d/99-bangerbuild.conf"


def test_an_image_with_network_managers_gets_what_they_need_unless_the_network_is_off() -> None:
    view = guest(images.FEDORA)
    ours = {NM, "/etc/cloud/cloud.cfg.d/99-bangerbuild.cfg"}
    assert ours <= set(paths(changes(WEB, view)))
    off = replace(WEB, guest=replace(GuestDefaults(), network=False))
    assert not ours & set(paths(changes(off, view)))


def test_a_declared_file_replaces_what_a_network_manager_would_get() -> None:
    vm = replace(WEB, files=(InlineFile(NM, "mine\n"),))
    assert written(changes(vm, guest(images.FEDORA)))[NM] == b"mine\n"


@pytest.mark.parametrize(
    ("vm", "is_kept"),
    [
        (WEB, True),
        (replace(WEB, network=replace(NETWORK, dns=())), False),
        (replace(WEB, guest=replace(GuestDefaults(), resolv_conf=False)), False),
        (replace(WEB, network=replace(NETWORK, dns=()), files=(InlineFile("/etc/resolv.conf", ""),)), True),
    ],
    ids=["dns", "no dns", "switched off", "declared file"],
)
def test_networkmanager_leaves_a_resolv_conf_alone_that_is_declared(vm: VM, *, is_kept: bool) -> None:
    assert (b"rc-manager=unmanaged" in written(changes(vm, guest(images.FEDORA)))[NM]) is is_kept


def test_a_root_that_keeps_its_images_machine_id_starts_what_presets_enable() -> None:
    keeping = replace(WEB, guest=replace(GuestDefaults(), identity=False))
    networkd = "/etc/systemd/network/00-bangerbuild.network"
    assert networkd in paths(changes(keeping, guest(images.MMDEBSTRAP)))
    assert networkd not in paths(changes(WEB, guest(images.MMDEBSTRAP)))


def test_what_all_vms_of_an_image_get_alike_holds_no_address_of_one() -> None:
    view = guest({**images.FEDORA, **images.DEBIAN, **images.ARCH})
    other = replace(WEB, network=replace(NETWORK, address="172.16.0.11/24", mac="06:00:ac:10:00:0b"))
    (alike, _), (alike_other, _) = (split(vm, changes(vm, view)) for vm in (WEB, other))
    assert alike == alike_other
    assert "/etc/network/interfaces" in {change.path for change in alike}


def test_a_bare_image_gets_the_sshd_drop_in_and_an_fstab_too() -> None:
    files = written(changes(WEB, guest()))
    assert "/etc/ssh/sshd_config.d/00-bangerbuild.conf" in files
    assert "/etc/ssh/sshd_config" not in files
    assert b"tmpfs /run tmpfs " in files["/etc/fstab"]


def test_fstab_is_the_images_without_dropped_mounts_and_with_ours() -> None:
    vm = replace(WEB, mounts=(Mount("tmpfs", "/scratch", "tmpfs", ("size=1g",)),))
    lines = written(changes(vm, DEBIAN))["/etc/fstab"].decode().splitlines()
    assert lines[0] == "/dev/vda / ext4 defaults 0 1"
    assert [line.split()[1] for line in lines if not line.startswith("#")] == [
        "/",
        "/run",
        "/tmp",
        "/scratch",
    ]


FOREIGN = "UUID=1-2 / ext4 defaults 0 1\nLABEL=data /srv ext4 defaults 0 2\n/dev/vdb /opt ext4 defaults 0 2\n"


def test_the_roots_own_names_and_the_vms_disks_are_devices_that_it_has() -> None:
    view = DictView({"/etc/fstab": FOREIGN.encode()}, tags=frozenset({"UUID=1-2"}))
    vm = replace(WEB, disks=(Disk("data", 1 << 30, "/data"),))
    outcome = changes(vm, view)
    assert written(outcome)["/etc/fstab"].startswith(FOREIGN.encode())
    assert not any("/etc/fstab" in warning for warning in outcome.warnings)


def test_a_line_for_a_device_that_the_vm_lacks_is_a_warning_unless_it_is_kept() -> None:
    view = DictView({**SYSTEMD, "/etc/fstab": FOREIGN.encode()})
    warnings = changes(WEB, view).warnings
    assert len(warnings) == 3
    for target, warning in zip(("'/'", "'/srv'", "'/opt'"), warnings, strict=True):
        assert target in warning
    assert changes(replace(WEB, keep_mounts=("/", "/srv", "/opt")), view).warnings == ()


def test_an_fstab_that_cannot_be_read_is_not_taken_for_an_empty_one() -> None:
    view = DictView(broken={"/etc/fstab": FilesystemError("'/etc/fstab' can't be read")})
    with pytest.raises(FilesystemError, match="'/etc/fstab' can't be read"):
        changes(WEB, view)


def test_hosts_that_the_guest_itself_cannot_read_are_replaced_and_a_damaged_file_is_an_error() -> None:
    looped = DictView(broken={"/etc/hosts": GuestPathError("it loops")})
    assert written(changes(WEB, looped))["/etc/hosts"] == b"127.0.0.1 localhost\n127.0.1.1 web\n"
    damaged = DictView(broken={"/etc/hosts": FilesystemError("'/etc/hosts' can't be read")})
    with pytest.raises(FilesystemError, match="'/etc/hosts' can't be read"):
        changes(WEB, damaged)


def test_an_inline_file_has_its_mode_and_the_guests_ids() -> None:
    vm = replace(WEB, guest=ALL_OFF, files=(InlineFile("/etc/app.conf", "é\n", 0o640, "www-data:www-data"),))
    assert changes(vm, DEBIAN).changes == (GuestFile("/etc/app.conf", b"\xc3\xa9\n", 0o640, 33, 34),)


def test_an_inline_file_of_an_unknown_owner_is_an_error() -> None:
    vm = replace(WEB, files=(InlineFile("/etc/app.conf", "", owner="nobody:root"),))
    with pytest.raises(SourceError, match="'nobody' is not in the guest's /etc/passwd"):
        changes(vm, DEBIAN)


@pytest.mark.parametrize(
    "path", [path for group in BY_SWITCH.values() for path in group if path.count("/") > 1]
)
def test_a_declared_file_replaces_the_default_at_its_path(path: str) -> None:
    vm = replace(WEB, files=(InlineFile(path, "mine\n"),))
    outcome = changes(vm, DEBIAN)
    assert [change for change in outcome.changes if change.path == path] == [GuestFile(path, b"mine\n")]
    assert sorted(paths(outcome)) == sorted(paths(changes(WEB, DEBIAN)))


@pytest.mark.parametrize("path", ["/etc/hosts", "//etc/./hosts"])
def test_a_file_sync_replaces_the_default_at_its_path(path: str) -> None:
    assert "/etc/hosts" not in paths(changes(replace(WEB, file_syncs=(sync(path),)), DEBIAN))


def test_a_file_of_a_synced_directory_replaces_the_default_at_its_path() -> None:
    vm = replace(WEB, file_syncs=(sync("/etc"),))
    assert "/etc/hosts" in paths(changes(vm, DEBIAN))
    assert "/etc/hosts" not in paths(changes(vm, DEBIAN, synced=["/etc/hosts"]))


def test_a_default_that_is_replaced_takes_its_warning_with_it() -> None:
    view = guest({"/etc/ssh/sshd_config": "Port 22\n", **SYSTEMD})
    own = replace(WEB, files=(InlineFile("/etc/ssh/sshd_config", "Port 23\n"),))
    assert len(changes(WEB, view).warnings) == 1
    assert changes(own, view).warnings == ()
    assert written(changes(own, view))["/etc/ssh/sshd_config"] == b"Port 23\n"


def test_without_keys_the_guests_authorized_keys_are_left_alone() -> None:
    assert not any(path.startswith("/root") for path in paths(changes(WEB, DEBIAN)))


def test_keys_are_written_with_the_directories_above_them_first() -> None:
    vm = replace(WEB, guest=ALL_OFF, authorized_keys=("ssh-ed25519 AAAA",))
    assert paths(changes(vm, DEBIAN)) == ["/root", "/root/.ssh", "/root/.ssh/authorized_keys"]


def test_a_declared_file_in_the_place_of_the_keys_wins_with_a_warning_and_directories_stay_strict() -> None:
    mine = InlineFile("/root/.ssh/authorized_keys", "mine\n", 0o600)
    outcome = changes(replace(WEB, guest=ALL_OFF, authorized_keys=("k",), files=(mine,)), DEBIAN)
    assert outcome.changes == (
        GuestDirectory("/root", 0o700),
        GuestDirectory("/root/.ssh", 0o700),
        GuestFile("/root/.ssh/authorized_keys", b"mine\n", 0o600),
    )
    assert outcome.warnings == (
        "ssh_authorized_keys is not used: a declared file stands at '/root/.ssh/authorized_keys'",
    )


def test_a_synced_home_does_not_loosen_the_directories_above_the_keys() -> None:
    vm = replace(WEB, guest=ALL_OFF, authorized_keys=("k",), file_syncs=(sync("/root"), sync("/root/.ssh")))
    assert paths(changes(vm, DEBIAN)) == ["/root", "/root/.ssh", "/root/.ssh/authorized_keys"]


def test_mounts_that_a_declared_fstab_shuts_out_are_a_warning() -> None:
    mount = Mount("tmpfs", "/scratch", "tmpfs")
    vm = replace(WEB, mounts=(mount,), files=(InlineFile("/etc/fstab", ""),))
    [warning] = changes(vm, DEBIAN).warnings
    assert "'/etc/fstab'" in warning


def test_mounts_without_the_fstab_default_are_a_warning() -> None:
    vm = replace(WEB, guest=ALL_OFF, mounts=(Mount("tmpfs", "/scratch", "tmpfs"),))
    assert changes(vm, DEBIAN).warnings == ("the declared mounts are not written: guest.fstab is false",)


def test_directories_to_mount_on_are_made_where_the_image_has_none() -> None:
    vm = replace(WEB, mounts=(Mount("tmpfs", "/scratch", "tmpfs"), Mount("tmpfs", "/srv", "tmpfs")))
    image = guest({"/run": "", "/tmp": "", "/srv": ""})
    made = [change for change in changes(vm, image).changes if isinstance(change, GuestDirectory)]
    assert made == [GuestDirectory("/scratch")]


def test_what_differs_between_two_vms_of_an_image_is_made_after_what_they_get_alike() -> None:
    other = replace(WEB, hostname="db", network=replace(WEB.network, address="172.16.0.11/24"))
    (alike, own), (alike_other, own_other) = (split(vm, changes(vm, DEBIAN)) for vm in (WEB, other))
    assert alike == alike_other
    assert own != own_other
    assert {*alike, *own.changes} == set(changes(WEB, DEBIAN).changes)


def test_identity_is_no_part_of_what_every_patch_does() -> None:
    every = set(paths(changes(WEB, DEBIAN)))
    once = set(paths(identity_changes(WEB, DEBIAN)))
    assert GuestRemoval("/etc/ssh/ssh_host_*") in identity_changes(WEB, DEBIAN).changes
    assert not every & once


def test_a_declared_machine_id_is_not_emptied() -> None:
    vm = replace(WEB, files=(InlineFile("/etc/machine-id", "0123\n"),))
    assert "/etc/machine-id" not in paths(identity_changes(vm, DEBIAN))


def test_two_runs_ask_for_the_same() -> None:
    vm = replace(WEB, authorized_keys=("k",), files=(InlineFile("/a", "b"),))
    assert changes(vm, DEBIAN) == changes(vm, DEBIAN)
    assert identity_changes(vm, DEBIAN) == identity_changes(vm, DEBIAN)
