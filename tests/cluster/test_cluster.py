"""Five machines: a scheduler and four workers, each in a network namespace with a store and a cache of its own.

The tests of this module are one story and share the machines: each leaves them running, and all VMs made.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild import __version__
from bangerbuild.cluster.scheduler import WORKER_OPTIONS
from tests import PROJECT
from tests.bridging.namespaces import Namespace, namespace
from tests.need import need
from tests.projects import write_small
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES = ("n1", "n2", "n3", "n4")
VMS = 200
SCHEDULER = "10.91.0.1"
ADDRESS = f"tls://{SCHEDULER}:8786"
CANARY = "canary-51d0c2"
MANIFEST = f"""\
[image.tiny]
rootfs = {{ directory = "tree", size = "16MiB" }}

{"".join(f"[node.{name}]{chr(10)}" for name in NODES)}
[fleet.vm]
names = "vm-{{001..{VMS}}}"
[fleet.vm.vm]
image = "tiny"
guest = {{ hosts = false, resolv_conf = false, sshd = false, network = false }}
[[fleet.vm.vm.file_sync]]
host = "conf"
guest = "/etc/conf"

[vm.vm-001]
node = "n1"
[[vm.vm-001.file]]
guest = "/etc/token"
content = {{ env = "TOKEN" }}
"""


@dataclass
class Machine:
    """A network namespace, a directory, and one program that runs there."""

    name: str
    place: Namespace
    directory: Path
    certificates: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, program: str, *options: str, **environment: str) -> None:
        """Start one of Dask's programs; what it says goes to the machine's log."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                inside(self.place, sys.executable, "-m", f"distributed.cli.dask_{program}", *options),
                cwd=self.directory,
                env=environ(self.certificates) | {"XDG_CACHE_HOME": str(self.directory / "cache")} | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def work(self, **environment: str) -> None:
        """Start the worker."""
        usual = (*WORKER_OPTIONS, "--no-dashboard", "--death-timeout", "600", "--local-directory", "dask")
        self.start("worker", ADDRESS, "--name", self.name, *usual, **environment)

    def kill(self) -> None:
        """End its program at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def staged(self) -> int:
        """How many files the share makes that runs there now."""
        return sum(1 for _ in self.directory.glob("build/.staging/*/*/*"))


def inside(place: Namespace, *command: str) -> list[str]:
    return [need("ip", "iproute2"), "netns", "exec", place.name, *command]


def environ(certificates: Path) -> dict[str, str]:
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    roles = ("SCHEDULER", "WORKER", "CLIENT")
    return {
        **os.environ,
        "PYTHONPATH": str(PROJECT),
        f"{tls}CA_FILE": str(certificates / "ca.pem"),
        **{f"{tls}{role}__CERT": str(certificates / "own.pem") for role in roles},
        **{f"{tls}{role}__KEY": str(certificates / "own.key") for role in roles},
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",  # how long a cut cable goes unseen
    }


def certificates(directory: Path) -> Path:
    """A CA, and a certificate of it for all machines."""
    directory.mkdir()
    openssl = need("openssl")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=directory, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run(*new, "-x509", "-days", "2", "-subj", "/CN=team", "-keyout", "ca.key", "-out", "ca.pem")
    run(*new, "-subj", "/CN=machine", "-keyout", "own.key", "-out", "own.csr")
    run("x509", "-req", "-in", "own.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-out", "own.pem")
    return directory


@dataclass
class Cluster:
    """All machines, and the project on the one that commands are typed on."""

    hub: Namespace
    project: Path
    scheduler: Machine
    nodes: dict[str, Machine]
    edits: int = 0

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        variables = environ(self.scheduler.certificates) | {"TOKEN": CANARY} | environment
        return subprocess.Popen(
            inside(self.hub, sys.executable, "-m", "bangerbuild", *arguments, "--cluster", ADDRESS),
            cwd=self.project,
            env=variables | {"XDG_CACHE_HOME": str(self.project.parent / "cache")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        return ended(self.begin(*arguments, **environment))

    def edit(self) -> None:
        """Change a file that all VMs have."""
        self.edits += 1
        (self.project / "conf/a").write_text(f"{self.edits}\n")

    def wait_for_workers(self) -> None:
        """Until each worker has said in its log that it is connected, once more than before."""
        for machine in self.nodes.values():
            eventually(lambda machine=machine: is_connected(machine))

    def start(self) -> None:
        self.scheduler.start("scheduler", "--protocol", "tls", "--host", SCHEDULER, "--no-dashboard")
        for machine in self.nodes.values():
            machine.work()
        self.wait_for_workers()


def is_connected(machine: Machine) -> bool:
    assert machine.process is not None
    assert machine.process.poll() is None, machine.log()
    return machine.log().rpartition("Start worker at")[2].count("Starting established connection") > 0


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    top = tmp_path_factory.mktemp("cluster")
    signed = certificates(top / "certificates")
    with ExitStack() as stack:
        hub = stack.enter_context(namespace())
        hub.ask("ip link add br0 type bridge && ip link set br0 up && ip address add 10.91.0.254/24 dev br0")
        machines = {}
        for number, name in enumerate(("scheduler", *NODES), start=1):
            place = stack.enter_context(namespace())
            hub.ask(f"ip link add {name} type veth peer name eth0 netns {place.name}")
            hub.ask(f"ip link set {name} master br0 up")
            place.ask(f"ip address add 10.91.0.{number}/24 dev eth0 && ip link set eth0 up")
            (top / name).mkdir()
            machines[name] = Machine(name, place, top / name, signed)
            stack.callback(machines[name].kill)
        project = top / "project"
        project.mkdir()
        write_small(project, MANIFEST)
        (project / "conf").mkdir()
        made = Cluster(hub, project, machines.pop("scheduler"), machines)
        made.edit()
        stack.enter_context(small_disk(machines["n4"].directory / "build"))
        made.start()
        yield made


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_four_nodes_make_200_vms_once_and_keep_them(cluster: Cluster) -> None:
    code, out, err = cluster.run("apply")
    assert (code, "failed" in out) == (0, False), err
    assert f"create  fleet.vm              {VMS} VMs (001-{VMS})" in err
    made = {name: len(list((one.directory / "build/vms").iterdir())) for name, one in cluster.nodes.items()}
    assert made == dict.fromkeys(NODES, VMS // len(NODES))
    code, out, _ = cluster.run("apply")
    assert (code, out.partition(" in ")[0]) == (0, f"{VMS * 3 + len(NODES)} kept")


def test_status_and_verify_see_all_stores(cluster: Cluster) -> None:
    code, out, _ = cluster.run("status", "--json")
    rows = json.loads(out)["artifacts"]
    assert (code, {row["node"] for row in rows}, {row["state"] for row in rows}) == (0, {*NODES}, {"current"})
    code, out, _ = cluster.run("verify", "--json")
    assert (code, json.loads(out)["summary"]["failed"]) == (0, 0)


MOMENTS = ("at once", "in the share", 1, 5, 10, 20, 30, 40, 45, 49)
"""When a worker is killed: when the command starts, when its share does, or after so many files were made."""


@pytest.mark.parametrize("number", range(len(MOMENTS)))
def test_a_killed_worker_is_named_the_others_go_on_and_the_next_run_heals(
    cluster: Cluster, number: int
) -> None:
    cluster.edit()
    name, moment = NODES[number % 3], MOMENTS[number]
    victim = cluster.nodes[name]
    running = cluster.begin("apply")
    has_begun = victim.directory / "build/.staging"
    if moment != "at once":
        least = 0 if moment == "in the share" else int(moment)
        eventually(lambda: (any(has_begun.iterdir()) and victim.staged() >= least) or running.poll() is not None)
    victim.kill()
    code, out, err = ended(running)
    victim.work()
    eventually(lambda: is_connected(victim))
    assert (code, f"error: node {name}: " in err) == (1, True), (out, err)
    others = [one for one in NODES if one != name]
    assert [one for one in others if f"node {one}:" in err] == []
    code, out, err = cluster.run("apply")
    assert (code, err) == (0, err), (out, err)
