"""docs/json.md has every field of every document that a command prints, and no other.

Commands are run in this process, on projects that bring out as many fields as they can cheaply. What no small
project has is printed by the command's own function, from a value that is made by hand.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import bangerbuild
from bangerbuild import report
from bangerbuild.cli import cli, images
from bangerbuild.cluster import listing
from bangerbuild.cluster.gathering import Gathering, document
from bangerbuild.commands import cache_gc, machines
from bangerbuild.commands.push import PushedArtifact
from bangerbuild.errors import BangerError, ClusterError, ManifestError, Problem
from bangerbuild.model import Outcome, Reason, ReasonCode, Result, Silent, Verb
from bangerbuild.model.plan import Relocation
from bangerbuild.running.run_directory import Running
from tests import PROJECT, in_process
from tests.projects import write_small

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (PROJECT / "docs/json.md").read_text()
_ROW = re.compile(r"\| `([^`]+)` \|")
FREE = {"keys", "inputs", "sources", "tools", "pin", "config", "partition", "value", "used", "free"}
"""Objects whose keys are names of the user's, or of the program that is asked; the page says so."""
NODES = """
[image.base]
rootfs = { directory = "tree", size = "24MiB" }

[network.lan]
subnet = "10.7.0.0/24"
bridge = "br-lan"

[node.one]
vcpus = 8
memory = "8GiB"
disk = "1TiB"
labels = ["fast"]

[fleet.runner]
names = "runner-{1..2}"
[fleet.runner.vm]
image = "base"
network.name = "lan"
node = "one"
"""
ALONE = """
[image.base]
rootfs = { directory = "tree", size = "24MiB" }
[vm.a]
image = "base"
mount = [{ source = "LABEL=none", target = "/none", fstype = "ext4" }]
%s
"""
OTHER = """
store.path = "build"
[image.base]
rootfs = { directory = "tree", size = "24MiB" }
[vm.other]
image = "base"
"""


MANY = {"show vm.NAME": "vms", "explain": "steps"}
"""What a document of several is called that has those of each."""
COMMON = "Every document"


class Documents(dict[str, set[str]]):
    """By command the fields of all its documents, each as the path that leads to it."""

    def take(self, command: str, document: Any) -> None:  # noqa: ANN401  # JSON
        """Note the fields of a document."""
        self.setdefault(command, set()).update(fields(document))

    def run(self, *arguments: str) -> None:
        """Run a command, and note what it prints."""
        found = in_process.document(*arguments)
        name = " ".join(arguments[:2]) if arguments[0] == "image" else arguments[0]
        if "vm.a" in arguments:
            name = {"show": "show vm.NAME"}.get(name, name)
            for one in found.pop(MANY.get(name, ""), ()):
                self.take(name, {MANY[name]: [], **one})
        if name == "image ls":
            for one in found["images"]:
                self.take("image show", one)
            found["images"] = []
        self.take(name, found)


def fields(value: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401  # JSON
    """The path of each field: `actions[].reasons[].code`."""
    if isinstance(value, list):
        for item in value:
            yield from fields(item, f"{path}[]")
    elif isinstance(value, dict):
        for key, item in value.items():
            name = f"{path}.{key}" if path else key
            if path.endswith("reasons[]") and key != "code":
                continue
            yield name
            if key not in FREE or not isinstance(item, dict):
                yield from fields(item, name)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """What commands print."""
    found = Documents()
    with pytest.MonkeyPatch.context() as patch:
        _of_one_vm(found, tmp_path_factory.mktemp("alone"), patch)
        _of_nodes(found, tmp_path_factory.mktemp("nodes"), patch)
    _made_by_hand(found)
    return found


def _of_one_vm(found: Documents, place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(place)
    manifest = write_small(place, ALONE % "")
    for command in ("validate", "plan", "apply", "status", "verify", "ps", "show"):
        found.run(command)
    (place / "other.toml").write_text(OTHER)
    in_process.run("apply", "other.toml", "-q")
    manifest.write_text(ALONE % "[[vm.a.file]]\nguest = '/etc/motd'\ncontent = 'hello'\n[vm.b]\nimage='base'")
    for words in (["plan"], ["explain", "vm.a"], ["apply", "-q"], ["explain", "vm.a.root"]):
        found.run(*words)
    found.take("graph", json.loads(in_process.run("graph", "--format", "json")[1]))
    for words in (["image", "ls"], ["image", "show", "base"], ["show", "vm.a", "vm.b"], ["show", "vm.a"]):
        found.run(*words)
    manifest.write_text(ALONE % "root.size = '2MiB'")
    found.run("plan")
    with manifest.open("w") as file:
        file.write("[image.base]\nrootfs = { directory = 'tree', size = '25MiB' }\n")
    found.run("plan")
    in_process.run("apply", "-q")
    (place / "build/.staging/left").mkdir()
    found.run("gc", "-n")
    for path in (place / "build").glob("state.db*"):
        path.unlink()
    (place / "build/vms/lost").mkdir()
    (place / "build/vms/lost/root.cow").write_bytes(b"nothing that is known")
    found.run("recover")


def _of_nodes(found: Documents, place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(place)
    write_small(place, NODES)
    found.run("show")
    found.run("plan", "--node", "one")
    moved = Relocation("runner-1", "two", "one", ("vms/runner-1/work.ext4",), is_here=False)
    plan = bangerbuild.plan(bangerbuild.load(node="one"))
    results = [Result(plan.actions[0].id, Outcome.FAILED, 0.1, error=BangerError("it failed"))]
    why = Reason(ReasonCode.WOULD_FAIL, {"message": "it fails", "hint": "mend it"})
    blocked = replace(plan.actions[1], verb=Verb.BLOCKED, reasons=(why,), notes=("odd",), warnings=("odd",))
    actions = (plan.actions[0], blocked, *plan.actions[2:])
    gone = {"vm.gone": "../gone.toml"}
    told = replace(plan, actions=actions, relocations=(moved,), orphans=gone)
    found.take("apply", report.plan_json(told, results))
    loaded = bangerbuild.load(node="all")
    gathered = Gathering(loaded, (), Silent(), lambda _: None)
    gathered.failures["one"] = ClusterError("node 'one' has no worker")
    gathered.rows["one"] = [{}]
    found.take("plan", document(gathered.plan, None, gathered))
    found.take("status", {"artifacts": listing.rows(gathered)})
    found.take("verify", {"checks": listing.rows(gathered)})


def _made_by_hand(found: Documents) -> None:
    pushed = PushedArtifact(
        "image.base.rootfs", "docker://host/base:0", "0" * 64, 1, was_there=False
    ).to_json()
    found.take("push", {"format": 1, "pushed": [pushed]})
    found.take("apply", {"pushed": [pushed]})
    found.take("gc", cache_gc.to_json(["docker://host/base:0"], removed=True))
    found.take("ps", machines.to_json([Running({"vm": "a", "since": "1"})]))
    problem = Problem("vm.toml", 1, "vm.a", "it is wrong")
    found.take("validate", report.error_document(ManifestError((problem,))))


def described() -> dict[str, set[str]]:
    """By the title of a section the fields that its first table has."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        rows = re.findall(r"^\| `([^`]+)` \|", text.partition("\n### ")[0], re.MULTILINE)
        assert len(rows) == len(set(rows)), title
        found[title] = set(rows)
    return found


def test_the_page_has_every_field_that_is_printed_and_no_other(printed: Documents) -> None:
    sections = described()
    common = sections.pop(COMMON)
    own: dict[str, set[str]] = {}
    for title in sections:
        for command in re.findall("`([^`]+)`", title):
            own[command] = sections[title]
    assert printed.keys() | {"pull"} == own.keys()
    unknown = {command: left for command, found in printed.items() if (left := found - own[command] - common)}
    assert unknown == {}
    for title, rows in sections.items():
        found = set().union(*(printed.get(name, set()) for name in re.findall("`([^`]+)`", title)))
        assert rows - found == set(), title
    assert common - set().union(*printed.values()) == set()


def test_every_command_with_a_document_has_a_section() -> None:
    commands = {
        name: command
        for group, prefix in ((cli, ""), (images.image, "image "))
        for name, command in ((prefix + key, value) for key, value in group.commands.items())
    }
    with_json = {
        name
        for name, command in commands.items()
        for parameter in command.params
        if parameter.name == "as_json" or (name == "graph" and parameter.name == "form")
    }
    titles = {name for title in described() for name in re.findall("`([^`]+)`", title)}
    assert with_json == titles - {"show vm.NAME"}


def test_every_action_and_every_reason_with_all_that_stands_beside_it_is_described() -> None:
    codes = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]*) \|", PAGE.partition("### Reasons")[2], re.MULTILINE))
    codes = {code: codes[code] for code in list(codes) if code in set(ReasonCode)}
    assert codes.keys() == set(ReasonCode)
    beside = {ReasonCode[code]: keys for code, keys in facts().items()}
    missing = {
        code: left
        for code, keys in beside.items()
        if (left := keys - set(re.findall("`([^`]+)`", codes[code])))
    }
    assert missing == {}
    assert [verb for verb in Verb if f"`{verb.value}`" not in PAGE] == []


def facts() -> dict[str, set[str]]:
    """What the package puts beside each code, where it says so in place."""
    found: dict[str, set[str]] = {}
    for path in (PROJECT / "bangerbuild").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="Reason"), args=[ast.Attribute(attr=code), ast.Dict(keys=keys)]
                ):
                    words = {str(key.value) for key in keys if isinstance(key, ast.Constant)}
                    found.setdefault(code, set()).update(words)
    return found
