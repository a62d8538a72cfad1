"""A node's share at the command line: its VMs, their images, and nothing of what other nodes have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.leases import FILE_NAME
from tests.projects import write_small

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

PLAIN = """\
[image.one]
rootfs = { directory = "tree", size = "16MiB" }
[image.two]
rootfs = { directory = "tree", size = "20MiB" }
[image.unused]
rootfs = { directory = "tree", size = "24MiB" }
[network.lan]
subnet = "172.16.0.0/24"
bridge = "br-lan"
[defaults]
image = "one"
memory = "1GiB"
guest = { network = false, sshd = false }
[vm.web]
network.name = "lan"
[vm.db]
image = "two"
network.name = "lan"
"""
NODES = """\
[node.a]
memory = "4GiB"
[node.b]
memory = "4GiB"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """`db` is placed on `a`, and `web` on `b`."""
    write_small(tmp_path, PLAIN + NODES)
    return tmp_path


def document(cli: CommandLine, project: Path, *words: str) -> dict[str, Any]:
    done = cli(*words, "--json", cwd=project)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def owners(found: dict[str, Any]) -> set[str]:
    return {".".join(one["id"].split(".")[:2]) for one in found["actions"]}


@pytest.mark.parametrize("command", ["plan", "apply", "status", "verify"])
def test_where_nodes_are_declared_one_of_them_has_to_be_named(
    cli: CommandLine, project: Path, command: str
) -> None:
    done = cli(command, cwd=project)
    assert done.returncode == 3
    assert "the manifest declares nodes, and it is not said which of them is meant" in done.stderr
    assert "--node NAME does the share of one (a, b), --node all that of all of them" in done.stderr
    assert not (project / "build").exists()


def test_images_are_no_nodes(cli: CommandLine, project: Path) -> None:
    done = cli("plan", "--target", "image.one", cwd=project)
    assert (done.returncode, "image.one.rootfs  missing" in done.stdout) == (0, True)


def test_a_node_that_is_not_declared_is_refused(cli: CommandLine, project: Path) -> None:
    done = cli("plan", "--node", "aa", cwd=project)
    assert (done.returncode, "no node is called 'aa'" in done.stderr) == (3, True)
    (project / "vm.toml").write_text(PLAIN)
    done = cli("plan", "--node", "a", cwd=project)
    assert done.returncode == 3
    assert "--node a, but the manifest declares no nodes" in done.stderr


def test_a_share_has_the_vms_of_the_node_with_their_images_and_networks(
    cli: CommandLine, project: Path
) -> None:
    assert owners(document(cli, project, "plan", "--node", "a")) == {"image.two", "vm.db", "network.lan"}
    found = document(cli, project, "plan", "--node", "b")
    assert owners(found) == {"image.one", "vm.web", "network.lan"}
    nodes = {one.get("node") for one in found["actions"] if one["id"].startswith("vm.")}
    assert nodes == {"b"}
    assert found["relocated"] == []
    everything = document(cli, project, "plan", "--node", "all")
    assert owners(everything) == {"image.one", "image.two", "image.unused", "vm.web", "vm.db", "network.lan"}
    (project / "vm.toml").write_text(PLAIN)
    found = document(cli, project, "plan")
    assert "relocated" not in found
    assert all("node" not in one for one in found["actions"])


def test_a_target_on_another_node_is_refused_with_that_node(cli: CommandLine, project: Path) -> None:
    done = cli("plan", "--node", "a", "--target", "vm.web", cwd=project)
    assert (done.returncode, "--target vm.web: vm.web is on node 'b'" in done.stderr) == (3, True)
    assert "hint: --node b" in done.stderr
    assert owners(document(cli, project, "plan", "--node", "a", "--target", "vm.*")) == {"image.two", "vm.db"}
    assert cli("apply", "--node", "a", "--replace", "vm.web", cwd=project).returncode == 3
    assert cli("boot", "web", "--node", "a", cwd=project).returncode == 3
    assert not (project / "build").exists()


def test_an_apply_leases_all_and_does_its_share_and_the_next_answers_from_its_record(
    cli: CommandLine, project: Path
) -> None:
    assert cli("apply", "--node", "a", cwd=project).returncode == 0
    lines = (project / FILE_NAME).read_text().splitlines()
    assert lines[-3:] == ["[placement]", 'db = "a"', 'web = "b"']
    assert sorted(path.name for path in (project / "build" / "vms").iterdir()) == ["db"]
    assert "tap-web" not in (project / "build" / "net" / "lan" / "up.sh").read_text()
    again = cli("apply", "--node", "a", cwd=project)
    assert (again.returncode, " kept in " in again.stdout) == (0, True)
    other = document(cli, project, "plan", "--node", "b")
    assert other["undeclared"] == []
    assert {one["action"] for one in other["actions"] if one["id"].startswith("vm.")} == {"create"}
    assert cli("apply", "--node", "b", "--locked", cwd=project).returncode == 0
    assert sorted(path.name for path in (project / "build" / "vms").iterdir()) == ["db", "web"]


def test_what_moves_is_said_with_the_disks_that_stay_and_they_go_without_the_lease(
    cli: CommandLine, project: Path
) -> None:
    assert cli("apply", "--node", "a", cwd=project).returncode == 0
    manifest = (PLAIN + NODES).replace("[vm.db]", '[vm.db]\nplacement.labels = ["ssd"]')
    (project / "vm.toml").write_text(manifest + 'labels = ["ssd"]\n')
    assert cli("plan", "--node", "b", "--locked", cwd=project).returncode == 3
    moved = {"vm": "db", "from": "a", "to": "b", "disks": ["vms/db/root.cow"]}
    assert document(cli, project, "plan", "--node", "b")["relocated"] == [{**moved, "here": False}]
    done = cli("lock", cwd=project)
    assert "move    db  a -> b" in done.stdout
    found = document(cli, project, "plan", "--node", "a")
    assert (found["relocated"], found["undeclared"], found["actions"]) == ([{**moved, "here": True}], [], [])
    assert "bangerbuild destroy --node a --target vm.db" in found["notes"][0]
    shown = document(cli, project, "status", "--node", "a")["artifacts"]
    assert {one["state"] for one in shown if one["id"].startswith("vm.db")} == {"on node b"}
    assert cli("gc", "--node", "a", cwd=project).returncode == 0
    assert (project / "build" / "vms" / "db" / "root.cow").exists()
    assert cli("destroy", "--undeclared", "--node", "a", "--yes", cwd=project).returncode == 0
    assert (project / "build" / "vms" / "db" / "root.cow").exists()
    assert cli("destroy", "--target", "vm.db", "--node", "a", "--yes", cwd=project).returncode == 0
    assert not (project / "build" / "vms" / "db").exists()
    assert 'db = "b"' in (project / FILE_NAME).read_text()


def test_a_new_node_moves_nothing_until_all_is_placed_anew(cli: CommandLine, project: Path) -> None:
    assert cli("lock", cwd=project).returncode == 0
    before = (project / FILE_NAME).read_text()
    (project / "vm.toml").write_text(PLAIN + NODES + '[node."0"]\n')
    assert "Nothing to do" in cli("lock", cwd=project).stdout
    assert (project / FILE_NAME).read_text() == before
    assert "move    db  a -> 0" in cli("lock", "--rebalance", cwd=project).stdout
    assert (
        cli("lock", "--release", "db", cwd=project).stdout == "  release  db  172.16.0.3\n  release  db  0\n"
    )


def test_show_says_who_placed_a_vm_and_what_is_left_on_each_node(cli: CommandLine, project: Path) -> None:
    assert cli("lock", cwd=project).returncode == 0
    keys = {one["key"]: one for one in document(cli, project, "show", "vm.web")["keys"]}
    lines = (project / FILE_NAME).read_text().splitlines()
    assert (keys["node"]["value"], keys["node"]["from"]) == ("b", "lease")
    assert lines[keys["node"]["line"] - 1] == 'web = "b"'
    (one, other) = document(cli, project, "show")["nodes"]
    assert (one["name"], one["vms"], other["name"], other["vms"]) == ("a", ["db"], "b", ["web"])
    assert one["free"] == {"vcpus": None, "memory_bytes": 3 << 30, "disk_bytes": None}
    assert "node.a: 1 VM, 1 GiB of 4 GiB of memory" in cli("show", cwd=project).stdout


def test_two_lines_for_one_vm_are_told_with_both(cli: CommandLine, project: Path) -> None:
    assert cli("lock", cwd=project).returncode == 0
    with (project / FILE_NAME).open("a") as file:
        file.write('web = "a"\n')
    done = cli("plan", "--node", "a", cwd=project)
    assert done.returncode == 3
    assert "'web' has 'a' here, and 'b' in line" in done.stderr
    assert cli("lock", "--release", "web", cwd=project).returncode == 0
    assert cli("plan", "--node", "a", cwd=project).returncode == 0
