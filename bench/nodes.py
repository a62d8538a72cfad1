"""Many VMs on many nodes, simulated in one process: what the one command costs that all nodes work for.

The network is in memory. A node unpacks its share, as a worker does, and says what a node says that makes all
of it anew. That is left out of the time: it happens on the nodes. What is measured is the rest: loading and
placing, dividing and packing, sending, and gathering all that is said into one plan and one list of results.
Beside it is what one node takes that does its own share of the same manifest with `apply --node`.

    python -m bench.nodes [VMS [NODES]]
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import bangerbuild
from bangerbuild import graph
from bangerbuild.cluster import documents, events, running, worker
from bangerbuild.cluster.share import ShareOptions, unpacked
from bangerbuild.declared import ALL_NODES
from bangerbuild.model import Silent
from bangerbuild.report import plan_sum
from bangerbuild.steps import declare
from bench.measure import BANGERBUILD, SCRATCH
from tests.cluster.fake_transport import FakeNode, FakeTransport, answered, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

VMS, NODES = 10_000, 100
HEAD = """\
[image.ci]
rootfs = { directory = "tree", size = "16MiB" }
[network.lan]
subnet = "10.0.0.0/16"
[fleet.r]
names = "r-{00001..%(vms)05}"
[fleet.r.vm]
image = "ci"
network.name = "lan"
guest = { sshd = false }
hostname = "{{ name }}.lab"
[[fleet.r.vm.file_sync]]
host = "conf"
guest = "/etc/conf"
"""


@dataclass
class Costs:
    """Seconds of this process, and what crossed the network."""

    load: float = 0.0
    prepare: float = 0.0
    on_nodes: float = 0.0
    """That nodes would have taken, not this process."""
    run: float = 0.0
    sent_bytes: int = 0
    said_bytes: int = 0
    messages: int = 0


def main() -> None:
    """Print the figures."""
    given = [int(word) for word in sys.argv[1:]]
    vms, nodes = (*given, *(VMS, NODES)[len(given) :])
    shutil.rmtree(SCRATCH, ignore_errors=True)
    for directory in ("tree/etc", "conf"):
        (SCRATCH / directory).mkdir(parents=True)
    (SCRATCH / "tree/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (SCRATCH / "conf/a").write_text("one\n")
    names = [f"n-{number:05}" for number in range(1, nodes + 1)]
    manifest = HEAD.replace("%(vms)05", f"{vms:05}")
    (SCRATCH / "vm.toml").write_text(manifest + "".join(f"[node.{name}]\n" for name in names))
    os.chdir(SCRATCH)
    gc.disable()  # as the command line does
    own = one_node(names[0])
    costs, said = simulated(names)
    rows = {
        "one node's own apply, all of its processes": own,
        "load and place all VMs": costs.load,
        "what sources stand for, secrets": costs.prepare,
        "pack, send and gather": costs.run,
        "on the nodes, to unpack and to say it": costs.on_nodes,
    }
    print(f"{vms} VMs on {nodes} nodes, seconds of CPU: {said}")
    for what, seconds in rows.items():
        print(f"  {what:<44} {seconds:8.2f}")
    ratio = (costs.load + costs.prepare + costs.run) / own
    print(f"  all of the command / one node's own apply: {ratio:.2f} (below 1 is wanted)")
    megabytes = (costs.sent_bytes / 1e6, costs.said_bytes / 1e6)
    print(f"  {costs.messages} messages, {megabytes[0]:.2f} MB sent, {megabytes[1]:.2f} MB said")
    shutil.rmtree(SCRATCH)


def one_node(name: str) -> float:
    """The processor time of `apply --node` and of all that it starts."""
    before = os.times()
    subprocess.run([*BANGERBUILD, "apply", "-q", "--node", name, "--store", "own"], check=True, cwd=SCRATCH)
    after = os.times()
    (SCRATCH / "bangerbuild.lock").unlink()
    return after.children_user + after.children_system - before.children_user - before.children_system


def simulated(names: list[str]) -> tuple[Costs, str]:
    """A run over nodes in memory."""
    costs = Costs()
    begun = time.process_time()
    loaded = bangerbuild.load(node=ALL_NODES)
    costs.load = time.process_time() - begun
    stores = dict.fromkeys(names, "/srv/vms/build")
    begun = time.process_time()
    prepared = running.prepare(loaded, ShareOptions("apply", previews=False), stores, Silent())
    costs.prepare = time.process_time() - begun
    transport = FakeTransport({name: FakeNode(simulated_node(costs)) for name in names})
    begun = time.process_time()
    done = running.do(prepared, transport, Silent(), print)
    said = plan_sum(done.plan)
    costs.run = time.process_time() - begun - costs.on_nodes
    assert not done.gathered.failures
    assert len(done.results) == len(done.plan.actions)
    return costs, said


def simulated_node(costs: Costs) -> Callable[[bytes, Callable[[bytes], None]], bytes]:
    """A node that has all files, and says that it makes all of its share."""

    def answer(question: bytes, said: Callable[[bytes], None]) -> bytes:
        begun = time.process_time()
        costs.messages += 1
        costs.sent_bytes += len(question)
        batches = done(question.partition(b"\n")[2]) if kind_of(question) == worker.Run.__name__ else []
        costs.on_nodes += time.process_time() - begun
        for lines in batches:
            costs.messages += 1
            costs.said_bytes += len(documents.zipped(lines))
            said(lines)
        return answered([])

    return answer


def done(share: bytes) -> list[bytes]:
    """What a node says that does a share: its plan, then each step, in batches as a worker sends them."""
    found = unpacked(share, lambda _key: Path("/nowhere"))
    steps = graph.build(declare(found.manifest))
    actions = tuple(
        events.SentAction(
            step.id,
            step.kind,
            "create",
            "0" * 32,
            tuple(path.replace("{fingerprint}", "0" * 32) for path in step.outputs),
            ({"code": "missing"},),
            tuple(step.inputs),
            step.changes,
            step.exclusive,
        )
        for step in graph.ordered(steps)
    )
    told = [events.line(events.Planned(found.store, actions))]
    for one in actions:
        told += [events.line(events.Started(one.id)), events.line(events.Finished(one.id, "done", 0.01))]
    told.append(events.line(events.Ended()))
    batches, gathered = [], b""
    for line in told:
        gathered += line
        if len(gathered) >= worker.GATHER_BYTES:
            batches.append(gathered)
            gathered = b""
    return [*batches, gathered]


if __name__ == "__main__":
    main()
