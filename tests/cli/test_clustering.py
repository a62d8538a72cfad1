"""`--cluster`: what it may name, what does not go with it, and a cluster on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bangerbuild.cli import cli
from bangerbuild.errors import BangerError
from tests import PROJECT
from tests.in_process import run
from tests.projects import write_small

MANIFEST = """\
[image.tiny]
rootfs = { directory = "tree", size = "16MiB" }
[node.a]
[node.b]
[fleet.r]
names = "r-{1..4}"
vm = { image = "tiny", guest = { hosts = false, sshd = false, network = false } }
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path, MANIFEST)
    return tmp_path


def refused(*arguments: str) -> BangerError:
    with pytest.raises(BangerError) as caught:
        cli.main([*arguments], prog_name="bangerbuild", standalone_mode=False)
    return caught.value


@pytest.mark.parametrize("command", ["plan", "apply", "status", "verify"])
def test_an_address_that_is_not_encrypted_is_refused_by_every_command(command: str) -> None:
    assert run(command, "--cluster", "tcp://10.0.0.1:8786")[0] == 3


@pytest.mark.parametrize(
    "address", ["", "tls://", "tls://host", "local:0", "local:-1", "local:x", "host:8786"]
)
def test_what_is_no_address_is_refused_with_what_is_one(address: str) -> None:
    error = refused("plan", "--cluster", address)
    assert (error.exit_code, "local:N" in str(error.hint)) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--node", "a"], "--node a and --cluster are two ways"),
        (["plan", "--out", "x.plan"], "--out saves the plan of one store"),
        (["apply", "saved.plan"], "a plan of one store"),
        (["apply", "--target", "vm.nothing"], "no step is called 'vm.nothing'"),
        (["apply", "--replace", "r-1"], "--replace r-1 names no VM"),
    ],
)
def test_what_does_not_go_with_a_cluster_is_refused_before_anybody_is_asked(
    arguments: list[str], said: str
) -> None:
    run("plan", "--node", "a", "--out", "saved.plan")
    error = refused(*arguments, "--cluster", "tls://127.0.0.1:1")
    assert said in error.brief
    assert error.exit_code == 3


def test_a_manifest_without_nodes_is_none_for_a_cluster() -> None:
    path = Path("vm.toml")
    path.write_text(path.read_text().replace("[node.a]\n[node.b]\n", ""))
    error = refused("plan", "--cluster", "local:1")
    assert (error.exit_code, "the manifest declares no nodes" in error.brief) == (3, True)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "bangerbuild.cluster.scheduler", raising=False)
    monkeypatch.delattr("bangerbuild.cluster.scheduler", raising=False)
    error = refused("plan", "--cluster", "local:1")
    assert (error.exit_code, error.hint) == (1, "pip install 'bangerbuild[cluster]'")


def test_nothing_of_a_cluster_is_loaded_without_one() -> None:
    script = (
        "import sys; from bangerbuild.cli import cli\n"
        "cli.main(['plan', '--node', 'a'], standalone_mode=False)\n"
        "print([name for name in sys.modules if 'cluster' in name or name in ('distributed', 'dask')])"
    )
    printed = python("-c", script).stdout
    assert printed.splitlines()[-1] == "['bangerbuild.cli.clustering']"


def test_a_cluster_on_this_machine_has_stores_below_the_store() -> None:
    done = python("-m", "bangerbuild", "apply", "--cluster", "local:2", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["summary"]["failed"]) == (0, 0), done.stderr
    assert [one["name"] for one in document["nodes"]] == ["a", "b"]
    assert sorted(str(path) for path in Path().glob("build/nodes/*/vms/*/root.cow")) == [
        "build/nodes/a/vms/r-1/root.cow",
        "build/nodes/a/vms/r-3/root.cow",
        "build/nodes/b/vms/r-2/root.cow",
        "build/nodes/b/vms/r-4/root.cow",
    ]


def test_a_cluster_on_this_machine_has_no_more_workers_than_there_are_nodes() -> None:
    done = python("-m", "bangerbuild", "plan", "--cluster", "local:3")
    assert (done.returncode, "declares 2 nodes" in done.stderr) == (3, True)


def test_a_scheduler_without_certificates_is_not_asked() -> None:
    done = python("-m", "bangerbuild", "plan", "--cluster", "tls://127.0.0.1:1")
    assert (done.returncode, "no certificates are configured" in done.stderr) == (1, True)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
