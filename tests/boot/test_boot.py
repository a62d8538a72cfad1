"""Two VMs on one Debian image, seen from inside, and afterwards from outside: e2fsck, debugfs, our `cat`."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.conftest import MANIFEST, OPPOSITE, PUBLIC_KEY, Built, Project, digest
from tests.boot.exceptions import exceptions, merge
from tests.need import lacking, need

if TYPE_CHECKING:
    from pathlib import Path

Reports = dict[str, dict[str, str]]

# All in one file: `--dist loadscope` gives it to one worker, so the machines are built and booted once.
pytestmark = pytest.mark.boot


def mounts(report: dict[str, str]) -> dict[str, dict[str, str]]:
    """Mount target to its source, type and options; of several on one target the uppermost."""
    return {entry["target"]: entry for entry in json.loads(report["mounts"])["filesystems"]}


def lines(text: str) -> list[str]:
    return sorted(text.splitlines())


def clean_to_e2fsck(image: Path) -> None:
    """Checked in full, nothing repaired."""
    done = subprocess.run(
        [need("e2fsck", "e2fsprogs"), "-fn", image], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


# What lies there before anything runs


def test_the_first_apply_creates_every_artifact(built: Built) -> None:
    actions = {action["id"]: action for action in built.applied["actions"]}
    assert {"image.bookworm.rootfs", "vm.web.root", "vm.db.root"} <= set(actions)
    assert {action["result"] for action in actions.values()} == {"done"}


def test_an_ordinary_user_builds_it_all(built: Built) -> None:
    if not built.project.account.is_ordinary:
        lacking("run by root, and no other user can start a Python with the project here")
    artifacts = [built.project.base, built.project.root("web"), built.project.root("db")]
    assert {artifact.stat().st_uid for artifact in artifacts}.isdisjoint({0})


# Seen from inside


@pytest.mark.parametrize(("vm", "name"), [("web", "web"), ("db", "db.example.org")])
def test_the_guest_has_its_declared_hostname(reports: Reports, vm: str, name: str) -> None:
    assert reports[vm]["hostname"].strip() == name
    assert reports[vm]["/etc/hostname"] == f"{name}\n"


def test_the_guest_resolves_its_own_name_to_the_loopback(reports: Reports) -> None:
    assert reports["web"]["/etc/hosts"].splitlines() == ["127.0.0.1 localhost", "127.0.1.1 web"]
    assert reports["db"]["/etc/hosts"].splitlines() == ["127.0.0.1 localhost", "127.0.1.1 db.example.org db"]


def test_the_guest_asks_the_declared_nameservers_in_their_order(reports: Reports) -> None:
    assert reports["web"]["/etc/resolv.conf"] == "nameserver 9.9.9.9\nnameserver 1.1.1.1\n"


@pytest.mark.parametrize(("vm", "address"), [("web", "172.16.0.10"), ("db", "172.16.0.11")])
def test_the_guests_card_has_the_declared_address_and_is_up(reports: Reports, vm: str, address: str) -> None:
    (card,) = (link for link in json.loads(reports[vm]["addresses"]) if link["ifname"] != "lo")
    assert [(entry["local"], entry["prefixlen"]) for entry in card["addr_info"]] == [(address, 24)]
    assert "UP" in card["flags"]


def test_the_guests_default_route_leads_over_the_declared_gateway(reports: Reports) -> None:
    def gateways(vm: str) -> list[str]:
        return [route["gateway"] for route in json.loads(reports[vm]["routes"]) if route["dst"] == "default"]

    assert gateways("web") == ["172.16.0.1"]
    assert gateways("db") == []


def test_the_root_is_the_kernels_snapshot_device_and_writable(reports: Reports) -> None:
    root = mounts(reports["web"])["/"]
    assert (root["source"], root["fstype"]) == ("/dev/mapper/vm", "ext4")
    assert "rw" in root["options"].split(",")


@pytest.mark.parametrize("target", ["/run", "/tmp"])
def test_run_and_tmp_are_tmpfs_without_devices_and_setuid(reports: Reports, target: str) -> None:
    mount = mounts(reports["web"])[target]
    assert mount["fstype"] == "tmpfs"
    assert {"nodev", "nosuid"} <= set(mount["options"].split(","))


def test_a_declared_mount_has_its_type_and_options(reports: Reports) -> None:
    for vm in ("web", "db"):
        mount = mounts(reports[vm])["/scratch"]
        assert mount["fstype"] == "tmpfs"
        assert {"nodev", "size=16384k"} <= set(mount["options"].split(","))


def test_run_and_tmp_have_the_modes_programs_rely_on(reports: Reports) -> None:
    assert reports["web"]["mount modes"].splitlines()[:2] == ["/run 755", "/tmp 1777"]


def test_a_synced_tree_has_the_hosts_modes_and_the_declared_owner(reports: Reports) -> None:
    assert lines(reports["web"]["site"]) == lines(
        " d 755 www-data:adm \n"
        "assets d 750 www-data:adm \n"
        "assets/key.pem f 600 www-data:adm \n"
        "assets/zwei Wörter.txt f 640 www-data:adm \n"
        "deploy.sh f 755 www-data:adm \n"
        "index.html f 644 www-data:adm \n"
        "latest l 777 www-data:adm assets/../index.html\n"
    )
    assert reports["web"]["site page"] == "this is index.html\n"


def test_a_synced_tree_goes_only_where_it_was_declared(reports: Reports) -> None:
    assert "No such file" in reports["db"]["site"]


def test_authorized_keys_pass_the_strict_modes_of_sshd(reports: Reports) -> None:
    assert reports["web"]["authorized keys"] == f"{PUBLIC_KEY}\n"
    assert lines(reports["web"]["ssh directory"]) == [
        "/root/.ssh d 700 0:0",
        "/root/.ssh/authorized_keys f 600 0:0",
    ]


def test_sshd_obeys_us_although_the_image_says_the_opposite(reports: Reports) -> None:
    assert reports["web"]["cloud-init"] == OPPOSITE
    options = reports["web"]["sshd"].splitlines()
    for option in (
        "permitrootlogin without-password",  # what sshd -T calls prohibit-password
        "pubkeyauthentication yes",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "authorizedkeysfile /root/.ssh/authorized_keys",
    ):
        assert option in options


def test_sshd_runs_and_no_unit_failed(reports: Reports) -> None:
    for report in reports.values():
        assert report["sshd runs"] == "active\n"
        assert report["failed units"] == ""


def test_two_guests_of_one_image_have_their_own_machine_ids(reports: Reports) -> None:
    identities = [report["machine-id"].strip() for report in reports.values()]
    assert all(len(identity) == 32 for identity in identities)
    assert len(set(identities)) == 2


def test_two_guests_of_one_image_have_their_own_host_keys(reports: Reports) -> None:
    keys = [{line.split()[1] for line in report["host keys"].splitlines()} for report in reports.values()]
    assert all(keys)
    assert keys[0].isdisjoint(keys[1])


# Afterwards, from outside


@pytest.mark.parametrize(("vm", "name"), [("web", "web"), ("db", "db.example.org")])
def test_cat_reads_what_a_guest_wrote(built: Built, reports: Reports, vm: str, name: str) -> None:
    assert reports[vm]["small file"] == f"written on {name}\n"
    assert built.project.cat(vm, "/var/tmp/from-guest") == f"written on {name}\n".encode()


def test_cat_reads_a_guests_large_file_byte_for_byte(built: Built, reports: Reports, tmp_path: Path) -> None:
    merged = merge(built.project.base, built.project.root("web"), tmp_path / "web.ext4")
    dump = tmp_path / "large"
    subprocess.run(
        [need("debugfs", "e2fsprogs"), "-R", f"dump /var/tmp/large {dump}", merged],
        check=True,
        capture_output=True,
    )
    assert reports["web"]["large file"].split()[0] == digest(dump)
    assert built.project.cat("web", "/var/tmp/large") == dump.read_bytes()


def test_ls_names_what_a_guest_wrote(built: Built, reports: Reports) -> None:
    listing = built.project.bangerbuild("ls", str(built.project.root("web")), "/var/tmp")
    assert {"from-guest", "large"} <= set(listing.decode().split())


def test_a_guests_disk_is_clean_after_its_shutdown(built: Built, reports: Reports, tmp_path: Path) -> None:
    for vm in reports:
        clean_to_e2fsck(merge(built.project.base, built.project.root(vm), tmp_path / vm))


def test_the_image_is_byte_for_byte_what_it_was_before_the_boots(built: Built, reports: Reports) -> None:
    assert digest(built.project.base) == built.base_digest
    clean_to_e2fsck(built.project.base)


def test_applying_again_after_the_boots_keeps_everything(built: Built, reports: Reports) -> None:
    before = {vm: dict(exceptions(built.project.root(vm))) for vm in reports}
    again = built.project.apply()
    assert {action["action"] for action in again["actions"]} == {"keep"}
    assert {vm: dict(exceptions(built.project.root(vm))) for vm in reports} == before


def test_a_changed_manifest_goes_into_a_root_that_a_guest_has_written_to(
    copied: Project, tmp_path: Path
) -> None:
    (copied.directory / "vm.toml").write_text(tomli_w.dumps(with_other_nameserver()))
    applied = copied.apply()
    changed = {action["id"]: action["action"] for action in applied["actions"] if action["action"] != "keep"}
    assert changed == {"vm.web.root.patch": "update"}
    assert copied.cat("web", "/etc/resolv.conf") == b"nameserver 8.8.8.8\n"
    assert copied.cat("web", "/var/tmp/from-guest") == b"written on web\n"
    clean_to_e2fsck(merge(copied.base, copied.root("web"), tmp_path / "patched"))


def with_other_nameserver() -> dict[str, Any]:
    web = MANIFEST["vm"]["web"]
    network = web["network"] | {"dns": ["8.8.8.8"]}
    return MANIFEST | {"vm": MANIFEST["vm"] | {"web": web | {"network": network}}}
