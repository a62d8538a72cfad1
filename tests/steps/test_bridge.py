"""`network.X.bridge`: what it is declared from, when it is made anew, and what becomes of its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.bridging.files import files, names
from bangerbuild.declared import VM, Manifest, Network, SharedNetwork
from bangerbuild.model import Outcome, Verb
from bangerbuild.model.fingerprint import step_fields
from bangerbuild.steps.bridge import BridgeFiles
from tests.bridging.samples import LAN
from tests.fakes import built, planned
from tests.projects import write_small
from tests.stores import lose_records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

NETWORK = SharedNetwork("lan", "172.16.0.0/16", "172.16.0.1", bridge="br-lan", nat=True)


def joined(name: str, network: str | None = "lan", tap: str | None = None) -> VM:
    return VM(name, "debian", name, network=Network(tap=tap or f"tap-{name}", name=network))


def manifest(path: Path, *vms: VM, network: SharedNetwork = NETWORK) -> Manifest:
    return Manifest(path, {}, {vm.name: vm for vm in vms}, networks={network.name: network})


def step(path: Path, *vms: VM, network: SharedNetwork = NETWORK) -> BridgeFiles:
    (found,) = BridgeFiles.declare(manifest(path, *(vms or (joined("web"), joined("db"))), network=network))
    return found


def test_a_network_without_a_bridge_has_no_files(tmp_path: Path) -> None:
    assert not list(BridgeFiles.declare(manifest(tmp_path, network=replace(NETWORK, bridge=None, nat=False))))


def test_its_recipe_is_what_counts_in_the_files_under_manifest_keys(tmp_path: Path) -> None:
    found = step(tmp_path, joined("web"), joined("db"), joined("else", network=None))
    assert found.id == "network.lan.bridge"
    assert step_fields(found) == {
        "bridge": "br-lan",
        "gateway": "172.16.0.1/16",
        "nat": True,
        "tap": ["tap-db", "tap-web"],
    }


def test_name_servers_and_reserved_addresses_change_no_file(tmp_path: Path) -> None:
    other = replace(NETWORK, dns=("1.1.1.1",), reserve=(("172.16.0.1", "172.16.0.9"),))
    assert step(tmp_path, network=other) == step(tmp_path)


def test_it_makes_the_files_of_its_bridge_in_the_networks_directory(tmp_path: Path) -> None:
    found = step(tmp_path)
    assert found.outputs == tuple(f"net/lan/{name}" for name in names(LAN))
    (result,) = built([found], tmp_path)
    assert result.outcome is Outcome.DONE
    for file in files(LAN, os.getuid()):
        path = tmp_path / "net" / "lan" / file.name
        assert (path.read_text(), path.stat().st_mode & 0o777) == (file.content, file.mode)


def test_a_further_vm_and_an_edit_by_hand_are_updates(tmp_path: Path) -> None:
    built([step(tmp_path)], tmp_path)
    (kept,) = planned([step(tmp_path)], tmp_path).actions
    assert (kept.verb, kept.reasons) == (Verb.KEEP, ())
    (more,) = planned([step(tmp_path, joined("web"), joined("db"), joined("x"))], tmp_path).actions
    assert more.verb is Verb.UPDATE
    (tmp_path / "net/lan/nat.nft").write_text("")
    (edited,) = planned([step(tmp_path)], tmp_path).actions
    assert (edited.verb, edited.reasons[0].to_json()) == (
        Verb.UPDATE,
        {"code": "artifact-modified", "path": "net/lan"},
    )


# Through the commands


SMALL = """\
[image.small.rootfs]
directory = "tree"
size = "16MiB"
[network.lan]
subnet = "172.16.0.0/16"
bridge = "br-lan"
nat = true
[defaults]
image = "small"
root.size = "1MiB"
[vm.web]
network = { name = "lan", address = "172.16.0.10" }
"""
DB = """\
[vm.db]
network = { name = "lan", address = "172.16.0.11" }
"""


@dataclass(frozen=True)
class Store:
    """A project with a network, and the commands on it."""

    directory: Path
    cli: CommandLine

    def write(self, manifest: str) -> None:
        (self.directory / "vm.toml").write_text(manifest)

    def done(self, *arguments: str) -> Any:  # noqa: ANN401  # the document that a command prints
        """The document of a command that must succeed."""
        done = self.cli(*arguments, "--json", cwd=self.directory)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def state(self) -> dict[str, str]:
        """What `status` says of the network's files."""
        artifacts = self.done("status")["artifacts"]
        return {one["path"]: one["state"] for one in artifacts if one["path"].startswith("net/")}

    def names(self) -> set[str]:
        return {path.name for path in (self.directory / "build/net").rglob("*") if path.is_file()}


@pytest.fixture
def project(tmp_path: Path, cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_small(tmp_path, SMALL + DB)
    made = Store(tmp_path, cli)
    made.done("apply")
    return made


def test_every_command_knows_the_files_of_a_network(project: Store) -> None:
    assert project.names() == set(names(LAN))
    assert set(project.state().values()) == {"current"}
    assert project.done("plan")["summary"]["create"] == 0
    project.done("verify")

    project.write(SMALL)
    assert project.done("apply", "--target", "network.lan")["summary"]["update"] == 1
    assert "tap-db" not in (project.directory / "build/net/lan/up.sh").read_text()
    removed = {one["path"] for one in project.done("gc")["removed"]}
    assert removed == {"net/lan/71-tap-db.netdev"}
    assert project.names() == set(names(LAN)) - {"71-tap-db.netdev"}

    project.write(
        SMALL.replace('name = "lan", ', "").replace('.10"', '.10/16"').replace("network.lan", "network.l")
    )
    project.done("apply")
    assert set(project.state().values()) == {"current", "undeclared"}
    assert project.cli("destroy", "--yes", "--target", "network.lan", cwd=project.directory).returncode == 0
    assert {path.name for path in (project.directory / "build/net").iterdir()} == {"l"}


def test_lost_records_are_made_again_for_networks_that_are_declared_or_not(project: Store) -> None:
    lose_records(project.directory / "build")
    recovered = {one["id"] for one in project.done("recover")["recovered"]}
    assert "network.lan.bridge" in recovered
    assert set(project.state().values()) == {"current"}

    lose_records(project.directory / "build")
    project.write(SMALL.replace("network.lan", "network.l").replace('"lan"', '"l"'))
    (project.directory / "build/net/lan/notes.txt").touch()
    project.done("recover")
    assert project.state()["net/lan/up.sh"] == "undeclared"
    done = project.cli("destroy", "--yes", "--target", "network.lan", cwd=project.directory)
    assert (done.returncode, "notes.txt" in done.stderr) == (0, True)
    assert {path.name for path in (project.directory / "build/net/lan").iterdir()} == {"notes.txt"}
