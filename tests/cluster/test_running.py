"""One command on several nodes, over a network in memory; each node has a store and a cache of its own."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bangerbuild
from bangerbuild.cluster import dispatch as dispatching
from bangerbuild.cluster import gathering, listing, running
from bangerbuild.cluster.share import ShareOptions
from bangerbuild.declared import ALL_NODES
from bangerbuild.errors import ManifestError
from bangerbuild.model import Outcome, Verb
from bangerbuild.report import plan_lines, plan_sum
from tests.cluster.fake_transport import FakeNode, FakeTransport, answered, in_process, kind_of
from tests.fakes import RecordingReporter
from tests.projects import write_small
from tests.registry import running_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bangerbuild.cluster.running import Outcomes
    from bangerbuild.cluster.share import Work
    from bangerbuild.model import Plan

MANIFEST = """\
[image.tiny]
rootfs = {{ directory = "tree", size = "24MiB" }}

[node.a]
[node.b]
{nodes}
[fleet.r]
names = "r-{{01..{count}}}"
[fleet.r.vm]
image = "tiny"
guest = {{ hosts = false, sshd = false, network = false }}
[[fleet.r.vm.file_sync]]
host = "conf"
guest = "/etc/conf"
{more}
"""
WITH_A_FILE = """
[[vm.r-01.file]]
guest = "/etc/token"
content = { env = "TOKEN" }
"""


@dataclass
class Team:
    """A project, and nodes beside it."""

    home: Path
    patch: pytest.MonkeyPatch
    nodes: dict[str, FakeNode] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    reporter: RecordingReporter = field(default_factory=RecordingReporter)

    def write(self, *, count: int = 4, nodes: str = "", more: str = "") -> None:
        text = MANIFEST.format(count=f"{count:02}", nodes=nodes, more=more)
        if not Path("vm.toml").exists():
            write_small(Path(), text)
            Path("conf").mkdir()
            Path("conf/a").write_text("one\n")
        Path("vm.toml").write_text(text)

    def node(self, name: str) -> FakeNode:
        self.nodes[name] = in_process(name, self.home, self.patch)
        return self.nodes[name]

    def run(self, work: Work, *, targets: Sequence[str] = (), pushes: bool = False) -> Outcomes:
        loaded = bangerbuild.load(node=ALL_NODES, targets=targets)
        stores = {name: str(self.home / name / "store") for name in loaded.manifest.nodes}
        self.reporter = RecordingReporter()
        options = ShareOptions(work, jobs=1, pushes=pushes)
        prepared = running.prepare(loaded, options, stores, self.reporter)
        transport = FakeTransport(self.nodes)
        return running.do(prepared, transport, self.reporter, self.warnings.append)

    def asked(self, name: str) -> list[str]:
        return [kind_of(question) for question in self.nodes[name].asked]


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "controller"))
    made = Team(tmp_path, monkeypatch)
    made.node("a")
    made.node("b")
    made.write()
    return made


def verbs(plan: Plan) -> set[Verb]:
    return {action.verb for action in plan.actions}


def test_all_nodes_do_their_shares_and_a_second_run_keeps_everything(team: Team) -> None:
    first = team.run("apply")
    assert first.gathered.failures == {}
    assert {result.outcome for result in first.results} == {Outcome.DONE}
    assert {path.name for path in (team.home / "a/store/vms").iterdir()} == {"r-01", "r-03"}
    assert {path.name for path in (team.home / "b/store/vms").iterdir()} == {"r-02", "r-04"}
    second = team.run("apply")
    assert verbs(second.plan) == {Verb.KEEP}
    assert plan_sum(second.plan) == "Nothing to do: 14 kept."


def test_the_plan_is_one_plan_in_which_fleets_are_drawn_together(team: Team) -> None:
    made = team.run("plan").plan
    lines = list(plan_lines(made))
    assert "  create  fleet.r              4 VMs (01-04)" in lines
    assert lines[-1] == "Plan: 14 to create."
    assert not (team.home / "a/store").exists()


def test_its_document_says_the_node_of_each_step_under_the_steps_own_id(team: Team) -> None:
    done = team.run("plan")
    document = gathering.document(done.plan, None, done.gathered)
    nodes = {(one["id"], one["node"]) for one in document["actions"]}  # type: ignore[index, union-attr, call-overload]
    assert {("image.tiny.rootfs", "a"), ("image.tiny.rootfs", "b"), ("vm.r-01.root", "a")} <= nodes
    assert [one["name"] for one in document["nodes"]] == ["a", "b"]  # type: ignore[index, union-attr, call-overload]


def test_the_reporter_is_told_as_of_one_run(team: Team) -> None:
    team.run("apply")
    kinds = [kind for kind, _ in team.reporter.events if kind != "progress"]
    assert kinds.index("planned") == 0
    assert kinds.count("planned") == 1
    assert kinds.count("done") == 14


def test_a_nodes_share_has_the_bytes_that_it_has_without_a_cluster(team: Team) -> None:
    team.run("apply")
    store = team.home / "alone"
    alone = bangerbuild.load(node="a", store=store)
    bangerbuild.apply(alone)
    roots = ["vms/r-01/root.cow", "vms/r-03/root.cow"]
    assert [(store / name).read_bytes() for name in roots] == [
        (team.home / "a/store" / name).read_bytes() for name in roots
    ]
    assert verbs(bangerbuild.plan(bangerbuild.load(node="a", store=team.home / "a/store"))) == {Verb.KEEP}


def test_host_files_go_once_to_each_node_and_a_changed_one_alone_again(team: Team) -> None:
    team.run("apply")
    assert team.asked("a").count("Take") == 2 * 2  # conf/a and tree/etc/passwd: a piece and the end
    for node in team.nodes.values():
        node.asked.clear()
    team.run("apply")
    assert team.asked("a") == team.asked("b") == ["Lacking", "Run"]
    Path("conf/a").write_text("two\n")
    done = team.run("apply")
    assert team.asked("a").count("Take") == 2
    assert {action.verb for action in done.plan.actions if action.step.changes} == {Verb.UPDATE}


def test_a_node_without_a_worker_is_named_and_the_others_go_on(team: Team) -> None:
    gone = team.nodes.pop("b")
    done = team.run("apply")
    assert [*done.gathered.failures] == ["b"]
    assert "node 'b' has no worker" in done.gathered.failures["b"].brief
    assert (team.home / "a/store/vms/r-03/root.cow").exists()
    team.nodes["b"] = gone
    healed = team.run("apply")
    assert healed.gathered.failures == {}
    assert (team.home / "b/store/vms/r-04/root.cow").exists()


@pytest.mark.parametrize("number", [0, 1, 3, 5])
def test_a_worker_that_dies_is_named_the_others_go_on_and_another_run_heals(team: Team, number: int) -> None:
    team.nodes["a"].dies_at = number
    done = team.run("apply")
    assert [*done.gathered.failures] == ["a"]
    assert {result.id for result in done.results if result.outcome is Outcome.DONE} >= {"vm.r-02.root"}
    team.node("a")
    healed = team.run("apply")
    assert healed.gathered.failures == {}
    assert verbs(team.run("plan").plan) == {Verb.KEEP}


@pytest.mark.parametrize(
    ("version", "said"), [("0.0.9", "has bangerbuild 0.0.9"), (None, "has no bangerbuild")]
)
def test_another_version_is_refused_by_name_and_sent_nothing(
    team: Team, version: str | None, said: str
) -> None:
    team.nodes["b"].version = version
    done = team.run("apply")
    assert said in done.gathered.failures["b"].brief
    assert team.nodes["b"].asked == []


def test_a_worker_that_is_no_node_is_named_and_sent_nothing(team: Team) -> None:
    team.node("stranger")
    done = team.run("apply")
    assert done.gathered.failures == {}
    assert team.warnings == [
        "no [node] of the manifest is called as this worker, which gets nothing: 'stranger'"
    ]
    assert team.nodes["stranger"].asked == []


def test_a_secret_goes_to_its_node_alone_and_into_no_document(team: Team) -> None:
    team.write(more=WITH_A_FILE)
    canary = "canary-7c1f"
    team.patch.setenv("TOKEN", canary)
    sent: dict[str, bytes] = {}
    for name, node in team.nodes.items():
        whole = node.answer

        def answer(question: bytes, said: object, name: str = name, whole: object = whole) -> bytes:
            sent[name] = sent.get(name, b"") + _opened(question)
            os.environ.pop("TOKEN", None)
            return whole(question, said)  # type: ignore[operator, no-any-return]

        node.answer = answer
    done = team.run("apply")
    assert done.gathered.failures == {}
    encoded = b"Y2FuYXJ5LTdjMWY="  # in base64
    assert (encoded in sent["a"], encoded in sent["b"]) == (True, False)
    assert canary not in repr(gathering.document(done.plan, done.results, done.gathered))
    assert canary.encode() in (team.home / "a/store/vms/r-01/root.cow").read_bytes()
    kept = [path for path in team.home.rglob("*") if path.is_file() and path.suffix != ".cow"]
    assert [path for path in kept if canary.encode() in path.read_bytes()] == []
    team.patch.setenv("TOKEN", canary)
    assert verbs(team.run("plan").plan) == {Verb.KEEP}


def _opened(question: bytes) -> bytes:
    body = question.partition(b"\n")[2]
    try:
        return zlib.decompress(body)
    except zlib.error:
        return body


def test_a_secret_that_is_not_there_ends_the_run_before_anything_is_sent(team: Team) -> None:
    team.write(more=WITH_A_FILE)
    with pytest.raises(ManifestError) as caught:
        team.run("apply")
    assert "'TOKEN' is not set" in caught.value.problems[0].message
    assert team.nodes["a"].asked == []
    assert not Path("bangerbuild.lock").exists()


def test_status_and_verify_need_no_secret(team: Team) -> None:
    team.write(more=WITH_A_FILE)
    team.patch.setenv("TOKEN", "x")
    team.run("apply")
    team.patch.delenv("TOKEN")
    loaded = bangerbuild.load(node=ALL_NODES)
    found = listing.statuses(loaded, team.run("status").gathered)
    assert {one.state for one in found} == {"current"}
    assert {one.path.partition(":")[0] for one in found} == {"a", "b"}
    checks = listing.checks(team.run("verify").gathered)
    assert {check.result.value for check in checks} == {"ok"}
    assert len({check.path for check in checks}) == 14


def test_targets_go_to_their_nodes_alone(team: Team) -> None:
    done = team.run("apply", targets=["vm.r-02"])
    assert {action.id for action in done.plan.actions} == {
        "image.tiny.rootfs@b",
        "vm.r-02.root",
        "vm.r-02.root.patch",
        "vm.r-02.launch",
    }
    assert team.nodes["a"].asked == []


def test_a_vm_that_moves_leaves_its_disks_and_both_nodes_say_so(team: Team) -> None:
    team.run("apply")
    team.write(more='[vm.r-01]\nnode = "b"\n')
    done = team.run("apply")
    assert [(one.vm, one.old, one.new) for one in done.plan.relocations] == [("r-01", "a", "b")]
    assert len(done.gathered.notes) == 1
    assert done.gathered.notes[0].startswith(
        "node a: vm.r-01 is on node 'b' now, and its disks are still here"
    )
    found = listing.statuses(bangerbuild.load(node=ALL_NODES), team.run("status").gathered)
    assert {one.state for one in found if one.path.startswith("a:vms/r-01")} == {"on node b"}


def test_what_is_no_longer_declared_is_said_of_its_node(team: Team) -> None:
    team.run("apply")
    team.write(count=3)
    (note,) = team.run("plan").gathered.notes
    assert note.startswith("node b: vm.r-04 is no longer declared, and still in the store")


def test_a_failure_on_one_node_is_told_with_its_words_and_ends_no_other(team: Team) -> None:
    team.write(more='[[vm.r-01.file]]\nguest = "/etc/passwd/x"\ncontent = "x"\n')
    done = team.run("apply")
    failed = [result for result in done.results if result.error]
    assert done.gathered.failures == {}
    assert {action.id for action in done.plan.actions if action.verb is Verb.BLOCKED} or failed
    assert {path.name for path in (team.home / "b/store/vms").iterdir()} == {"r-02", "r-04"}


def test_an_image_is_built_and_pushed_by_one_node_and_fetched_by_the_other(team: Team) -> None:
    (team.home / "registry").mkdir()
    with running_registry(team.home / "registry") as registry:
        for name, value in registry.environ.items():
            team.patch.setenv(name, value)
        where = registry.name("team")
        team.write(more=f'[cache]\npull = ["{where}"]\npush = "{where}"\n')
        done = team.run("apply", pushes=True)
    assert done.gathered.failures == {}
    told = {action.id: action.verb for action in done.plan.actions if action.id.startswith("image")}
    assert told == {"image.tiny.rootfs@a": Verb.CREATE, "image.tiny.rootfs@b": Verb.FETCH}
    assert {result.outcome for result in done.results} == {Outcome.DONE}
    assert [one["id"] for one in done.gathered.pushed] == ["image.tiny.rootfs"]
    assert "[cache.tiny." in Path("bangerbuild.lock").read_text()


def test_an_answer_that_is_none_ends_the_part_of_its_node(team: Team) -> None:
    team.nodes["a"] = FakeNode(lambda _question, _said: b"\x80\x04N.")

    def lies(_question: bytes, said: Callable[[bytes], None]) -> bytes:
        said(b'{"is": "Exec"}\n')
        return answered([])

    team.nodes["b"] = FakeNode(lies)
    done = team.run("apply")
    assert {*done.gathered.failures} == {"a", "b"}


def test_an_interrupted_run_tells_the_nodes(team: Team) -> None:
    def interrupt(_question: bytes, _said: object) -> bytes:
        raise KeyboardInterrupt

    team.nodes["a"].answer = interrupt
    loaded = bangerbuild.load(node=ALL_NODES)
    stores = {name: str(team.home / name / "store") for name in ("a", "b")}
    prepared = running.prepare(loaded, ShareOptions("apply"), stores, team.reporter)
    transport = FakeTransport(team.nodes)
    with pytest.raises(KeyboardInterrupt):
        running.do(prepared, transport, team.reporter, team.warnings.append)
    assert transport.was_cancelled


def test_a_node_that_says_nothing_for_long_is_named(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "SLOW_SECONDS", 0.0)
    team.run("plan")
    assert "node a: nothing was heard of it for 0 s; still waiting" in {
        text for _, text in team.reporter.events
    }


def test_few_nodes_are_sent_files_at_once(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "MOST_SENDING", 1)
    order: list[str] = []
    for name, node in team.nodes.items():
        whole = node.answer

        def answer(question: bytes, said: object, name: str = name, whole: object = whole) -> bytes:
            order.append(f"{name} {kind_of(question)}")
            return whole(question, said)  # type: ignore[operator, no-any-return]

        node.answer = answer
    team.run("apply")
    assert order.index("a Run") < order.index("b Run")
    assert [
        one for one in order[: order.index("a Run")] if one.startswith("b") and one.endswith("Take")
    ] == []
