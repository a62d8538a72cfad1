"""Fleets at the command line: `show`, plans drawn together, targets, leases and their release."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.projects import write_small

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

MANIFEST = """\
[vars]
domain = "lab.example"
[image.ci]
rootfs = { directory = "tree", size = "16MiB" }
[network.lan]
subnet = "172.16.0.0/24"
reserve = ["172.16.0.1-172.16.0.9"]
[defaults]
vcpus = 2
[fleet.runner]
names = "runner-{001..008}"
[fleet.runner.vm]
image = "ci"
guest = { network = false, sshd = false }
network.name = "lan"
hostname = "{{ name }}.{{ vars.domain }}"
[[fleet.runner.vm.file]]
guest = "/etc/runner"
template = true
content = "{{ index }} {{ address }}"
[vm.runner-007]
memory = "8GiB"
[vm.alone]
image = "ci"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_small(tmp_path, MANIFEST)
    return tmp_path


def test_show_says_where_each_key_of_a_vm_comes_from(cli: CommandLine, project: Path) -> None:
    assert cli("lock", cwd=project).returncode == 0
    done = cli("show", "vm.runner-007", "--json", cwd=project)
    document = json.loads(done.stdout)
    assert (document["id"], document["fleet"]) == ("vm.runner-007", "runner")
    keys = {one["key"]: (one["value"], one["from"], one["file"], one["line"]) for one in document["keys"]}
    lock = (project / "bangerbuild.lock").read_text().splitlines()
    assert keys["memory"] == ("8GiB", "override", "vm.toml", 22)
    assert keys["vcpus"] == (2, "defaults", "vm.toml", 9)
    assert keys["hostname"] == ("runner-007.lab.example", "fleet runner", "vm.toml", 16)
    assert keys["network.gateway"] == ("172.16.0.1", "network lan", "vm.toml", 5)
    address, said_by, file, line = keys["network.address"]
    assert (address, said_by, file) == ("172.16.0.16", "lease", "bangerbuild.lock")
    assert lock[line - 1] == 'runner-007 = "172.16.0.16"'
    assert keys["file[/etc/runner]"] == ("a template", "fleet runner", "vm.toml", 17)
    assert keys["network.tap"] == ("tap-runner-007", "built in", None, None)
    text = cli("show", "runner-007", cwd=project).stdout
    assert 'memory            = "8GiB"                    override      vm.toml:22' in text


def test_show_alone_lists_images_fleets_and_networks_with_their_use(cli: CommandLine, project: Path) -> None:
    assert cli("show", cwd=project).stdout == (
        "image.ci: 9 VMs\n"
        "fleet.runner: 8 VMs (001-008)\n"
        "network.lan: 172.16.0.0/24, 8 VMs, 8 leased, 237 free\n"
        "vm.alone: image ci\n"
    )
    document = json.loads(cli("show", "vm.toml", "--json", cwd=project).stdout)
    (network,) = document["networks"]
    assert (network["vms"], network["leased"], network["free"]) == (8, 8, 237)
    assert document["fleets"] == [{"name": "runner", "vms": [f"runner-00{n}" for n in range(1, 9)]}]
    assert not (project / "bangerbuild.lock").exists()


def test_show_of_a_vm_that_is_not_there_names_one_that_is(cli: CommandLine, project: Path) -> None:
    done = cli("show", "vm.runner-0007", cwd=project)
    assert done.returncode == 3
    assert "did you mean 'runner-007'?" in done.stderr


def test_a_plan_draws_a_fleet_together_and_json_and_verbose_do_not(cli: CommandLine, project: Path) -> None:
    text = cli("plan", cwd=project).stdout
    assert "  create  fleet.runner         8 VMs (001-008)\n" in text
    assert "vm.runner-001" not in text
    assert "  create  vm.alone.root        missing\n" in text
    assert "vm.runner-001.root" in cli("plan", "-v", cwd=project).stdout
    ids = {action["id"] for action in json.loads(cli("plan", "--json", cwd=project).stdout)["actions"]}
    assert {f"vm.runner-00{number}.root" for number in range(1, 9)} < ids
    assert not (project / "bangerbuild.lock").exists()


def test_a_fleet_is_a_target_of_plan_apply_status_and_destroy(cli: CommandLine, project: Path) -> None:
    done = cli("apply", "--target", "fleet.runner", "--var", "domain=other", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "  create  fleet.runner" in done.stderr
    assert "8 VMs (001-008)" in done.stderr
    held = (project / "bangerbuild.lock").read_text()
    assert held.count("runner-00") == 8
    done = cli("plan", "--target", "fleet.runner", "--no-diff", cwd=project)
    assert "  update  fleet.runner.root.patch  8 VMs (001-008)\n" in done.stdout
    assert "hostname: *.other -> *.lab.example" in done.stdout
    done = cli("status", "--target", "fleet.runner", "--json", "--var", "domain=other", cwd=project)
    states = {one["id"]: one["state"] for one in json.loads(done.stdout)["artifacts"]}
    assert len(states) == 8 * 2 + 1
    assert set(states.values()) == {"current"}
    (project / "vm.toml").write_text(MANIFEST.replace("{001..008}", "{003..008}").replace('"8GiB"', '"1GiB"'))
    assert "8 VMs" not in cli("plan", cwd=project).stdout
    done = cli("destroy", "--target", "fleet.runner", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (project / "build/vms").iterdir()} == {"runner-001", "runner-002"}
    left = (project / "bangerbuild.lock").read_text().splitlines()[3:]
    assert left == ["[network.lan]", 'runner-001 = "172.16.0.10"', 'runner-002 = "172.16.0.11"']


def test_a_fleet_that_is_not_there_is_told(cli: CommandLine, project: Path) -> None:
    done = cli("plan", "--target", "fleet.runer", cwd=project)
    assert (done.returncode, done.stderr) == (
        3,
        "error: no fleet is called 'runer'\n  hint: did you mean 'fleet.runner'?\n",
    )


def test_a_lease_stays_until_it_is_released(cli: CommandLine, project: Path) -> None:
    assert cli("plan", "--locked", cwd=project).returncode == 3
    assert cli("lock", cwd=project).returncode == 0
    before = (project / "bangerbuild.lock").read_text()
    (project / "vm.toml").write_text(MANIFEST.replace("runner-{001..008}", "runner-{002..009}"))
    assert cli("lock", cwd=project).returncode == 0
    after = (project / "bangerbuild.lock").read_text()
    assert after == before + 'runner-009 = "172.16.0.18"\n'
    assert cli("plan", "--locked", cwd=project).returncode == 0
    done = cli("lock", "--release", "runner-001", cwd=project)
    assert (done.returncode, done.stdout) == (0, "  release  runner-001  172.16.0.10\n")
    done = cli("lock", "--release", "runner-001", cwd=project)
    assert done.returncode == 3
    assert "nothing is leased to 'runner-001'" in done.stderr


def test_a_merge_that_gives_an_address_twice_is_mended_by_the_command_that_it_names(
    cli: CommandLine, project: Path
) -> None:
    assert cli("lock", cwd=project).returncode == 0
    lock = project / "bangerbuild.lock"
    lock.write_text(lock.read_text().replace('"172.16.0.17"', '"172.16.0.10"'))
    for command in (["plan"], ["apply"], ["lock"], ["validate"]):
        done = cli(*command, cwd=project)
        assert done.returncode == 3
        assert "bangerbuild.lock:12: network.lan.runner-008: '172.16.0.10' is given to" in done.stderr
        assert "'runner-001' in line 5" in done.stderr
        assert ": bangerbuild lock --release runner-008\n" in done.stderr
    assert cli("lock", "--release", "runner-008", cwd=project).returncode == 0
    assert cli("lock", cwd=project).returncode == 0
    assert 'runner-008 = "172.16.0.17"' in lock.read_text()
