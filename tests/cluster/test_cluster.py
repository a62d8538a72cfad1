"""A scheduler and four workers, each in a network namespace, with a store and a cache of its own.

The tests of this module are one story and share the machines: each leaves them running, and all VMs made.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bangerbuild import __version__
from bangerbuild.cluster.scheduler import WORKER_OPTIONS
from tests import PROJECT
from tests.bridging.namespaces import Namespace, namespace
from tests.need import need
from tests.projects import write_small
from tests.waiting import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NODES = ("n1", "n2", "n3", "n4")
VMS = 200
SCHEDULER = "10.91.0.1"
ADDRESS = f"tls://{SCHEDULER}:8786"
PAGE = (PROJECT / "docs/nodes.md").read_text()
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
    process: subprocess.Popen[bytes] | None = None

    def start(self, program: str, *options: str, **environment: str) -> None:
        """Start one of Dask's programs; what it says goes to the machine's log."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                inside(self.place, sys.executable, "-m", f"distributed.cli.dask_{program}", *options),
                cwd=self.directory,
                env=environ(self.certificates)
                | {"XDG_CACHE_HOME": str(self.directory / "cache")}
                | environment,
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
        return sum(len(files) for _, _, files in os.walk(self.directory / "build/.staging"))


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


def certificates(directory: Path, name: str = "vms") -> Path:
    """A CA, and a certificate of it for all machines, made as the page for users says."""
    directory.mkdir()
    need("openssl")
    commands = [line for line in PAGE.splitlines() if line.startswith("openssl ")]
    assert len(commands) == 3
    script = "\n".join(["set -e", *commands]).replace("/CN=vms", f"/CN={name}")
    subprocess.run([need("sh"), "-c", script], cwd=directory, check=True, capture_output=True)
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
        eventually(lambda: all(map(is_connected, self.nodes.values())))

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
    subprocess.run([need("mount"), "-t", "tmpfs", "-o", "size=64m", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run([need("umount"), "--lazy", directory], check=True)


def test_the_page_starts_workers_as_they_are_started_here() -> None:
    (command,) = [line for line in PAGE.splitlines() if line.startswith("dask worker")]
    assert command.endswith(" ".join((*WORKER_OPTIONS, "--no-dashboard")))


def test_four_nodes_make_200_vms_once_and_keep_them(cluster: Cluster) -> None:
    code, out, err = cluster.run("apply")
    assert (code, "failed" in out) == (0, False), err
    assert f"create  fleet.vm              {VMS} VMs (001-{VMS})" in err
    made = {name: len(list((one.directory / "build/vms").iterdir())) for name, one in cluster.nodes.items()}
    assert made == dict.fromkeys(NODES, VMS // len(NODES))
    code, out, _ = cluster.run("apply")
    assert (code, out.partition(" in ")[0]) == (0, f"{VMS * 3 + len(NODES)} kept")


KILLS: tuple[tuple[str | int, ...], ...] = (
    ("at once", 1, 5),
    (10, "in the share", 20),
    (30, 40, 45),
)
"""For each run, when the workers of the first three nodes are killed: as the command starts, as their shares
do, or once these have made so many files."""


@pytest.mark.parametrize("number", range(len(KILLS)))
def test_killed_workers_are_named_and_the_other_goes_on(cluster: Cluster, number: int) -> None:
    cluster.edit()
    running = cluster.begin("apply")
    with ThreadPoolExecutor() as pool:
        victims = [cluster.nodes[name] for name in NODES[:3]]
        kills = [
            pool.submit(kill_at, victim, moment, running)
            for victim, moment in zip(victims, KILLS[number], strict=True)
        ]
    for one in kills:
        one.result()
    code, out, err = ended(running)
    for victim in victims:
        victim.work()
    cluster.wait_for_workers()
    assert (code, named(err)) == (1, {*NODES[:3]}), (out, err)


def test_another_version_a_stranger_and_a_cable_that_stays_cut_are_named(
    cluster: Cluster, tmp_path: Path
) -> None:
    other, cut, victim = cluster.nodes["n4"], cluster.nodes["n2"], cluster.nodes["n1"]
    metadata = tmp_path / "other/bangerbuild-0.0.1.dist-info/METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: bangerbuild\nVersion: 0.0.1\n")
    other.kill()
    other.work(PYTHONPATH=f"{metadata.parents[1]}:{PROJECT}")
    (tmp_path / "n9").mkdir()
    stranger = Machine("n9", cluster.scheduler.place, tmp_path / "n9", other.certificates)
    stranger.work()
    eventually(lambda: is_connected(stranger))
    cluster.wait_for_workers()
    cluster.edit()
    running = cluster.begin("apply")
    with ThreadPoolExecutor() as pool:
        pool.submit(kill_at, victim, 49, running)
        pool.submit(kill_at, cut, 1, running, lambda: cluster.hub.ask("ip link set n2 down"))
    code, out, err = ended(running)
    cluster.hub.ask("ip link set n2 up")
    for machine in (stranger, other, cut):
        machine.kill()
    assert (code, named(err)) == (1, {"n1", "n2", "n4"}), (out, err)
    assert f"node 'n4' has bangerbuild 0.0.1, and this is {__version__}: it is sent nothing" in err
    assert "no [node] of the manifest is called as this worker, which gets nothing: 'n9'" in err
    for machine in (other, cut, victim):
        machine.work()
    cluster.wait_for_workers()


def test_two_controllers_at_once_heal_all_that_was_left(cluster: Cluster) -> None:
    both = [cluster.begin("apply", "-q"), cluster.begin("apply", "-q")]
    assert [ended(one) for one in both] == [(0, "", ""), (0, "", "")]


def test_a_full_disk_is_named_and_a_cable_that_is_cut_for_a_moment_is_not_noticed(cluster: Cluster) -> None:
    full, cut = cluster.nodes["n4"], cluster.nodes["n2"]
    filler = full.directory / "build/filler"
    with filler.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    cluster.edit()
    running = cluster.begin("apply", "-k")
    kill_at(cut, 1, running, lambda: cluster.hub.ask("ip link set n2 down"))
    time.sleep(2)
    cluster.hub.ask("ip link set n2 up")
    code, out, err = ended(running)
    filler.unlink()
    assert code == 1
    assert "no space left on device" in err
    assert named(err) <= {"n4"}
    code, out, err = cluster.run("apply")
    assert code == 0, (out, err)


def test_a_scheduler_that_dies_is_named_for_every_node_and_another_run_heals(cluster: Cluster) -> None:
    cluster.edit()
    running = cluster.begin("apply")
    kill_at(cluster.nodes["n1"], 1, running, cluster.scheduler.kill)
    code, _, err = ended(running)
    assert (code, "n1" in named(err)) == (1, True)
    assert f"error: node n1: the scheduler at {ADDRESS} is gone" in err
    for machine in cluster.nodes.values():
        assert machine.process is not None
        machine.process.wait(PATIENCE_SECONDS)  # a worker without a scheduler ends
    cluster.start()
    code, out, err = cluster.run("apply")
    assert code == 0, (out, err)


def test_a_certificate_of_another_ca_is_refused_on_both_sides(cluster: Cluster, tmp_path: Path) -> None:
    others = certificates(tmp_path / "others", "others")
    ours = shutil.copytree(others, tmp_path / "mixed")
    shutil.copy(cluster.scheduler.certificates / "ca.pem", ours / "ca.pem")
    for place, said in ((others, "certificate verify failed"), (ours, "does not answer")):
        code, out, err = cluster.run("plan", **environ(place))
        assert (code, out, said in err) == (1, "", True), err
        assert f"error: the scheduler at {ADDRESS} does not answer" in err


def test_the_stores_are_sound_and_the_secret_is_in_its_disk_alone(cluster: Cluster) -> None:
    code, out, err = cluster.run("verify")
    assert (code, [line for line in out.splitlines() if line.startswith("  failed")]) == (0, []), err
    secret = CANARY.encode()
    holders = [
        path.relative_to(cluster.project.parent)
        for path in cluster.project.parent.rglob("*")
        if path.is_file() and not path.is_symlink() and secret in path.read_bytes()
    ]
    assert [str(path) for path in holders] == ["n1/build/vms/vm-001/root.cow"]


def kill_at(
    machine: Machine,
    moment: str | int,
    running: subprocess.Popen[str],
    kill: Callable[[], object] | None = None,
) -> None:
    """Kill a worker, or do something else, at a moment of the share that it does."""
    started = machine.directory / "build/.staging"
    least = 0 if isinstance(moment, str) else moment
    if moment != "at once":
        eventually(
            lambda: (any(started.iterdir()) and machine.staged() >= least) or running.poll() is not None
        )
    (kill or machine.kill)()


def named(err: str) -> set[str]:
    """The nodes that a command says did not do their share."""
    return set(re.findall(r"^error: node (\w+): ", err, re.MULTILINE))
