"""Random edits of fleets: a VM is its name, and what happens to others changes nothing of it.

Whatever is added, removed, renamed, reordered or moved to another network: no lease of another VM moves, no
step of it has another fingerprint, its lines of the plan stay, and a clean checkout plans the same.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bangerbuild import leases, pipeline
from bangerbuild.disk import clone
from bangerbuild.model import StepId
from bangerbuild.report import plan_json
from tests import in_process

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from bangerbuild.model import Json, Plan

HEAD = """\
[vars]
domain = "lab.example"
[image.tiny.rootfs]
directory = "tree"
size = "16MiB"
[network.red]
subnet = "10.1.0.0/24"
[network.blue]
subnet = "10.2.0.0/24"
"""
FLEET = """\
[fleet.{name}]
{members}
[fleet.{name}.vm]
image = "tiny"
network.name = "{network}"
hostname = "{{{{ name }}}}.{{{{ vars.domain }}}}"
guest = {{ sshd = false }}
{renamed}[[fleet.{name}.vm.file]]
guest = "/etc/member"
template = true
content = '{{{{ name }}}} {{{{ index | default("-") }}}} {{{{ address }}}}'
[[fleet.{name}.vm.file]]
guest = "/etc/token"
content = {{ file = "token" }}
"""


@dataclass
class Fleet:
    """What a manifest says of one fleet."""

    network: str = "red"
    names: list[str] = field(default_factory=list)
    axes: dict[str, list[str]] = field(default_factory=dict)
    """Of the matrix, if it is one."""

    def members(self, fleet: str) -> list[str]:
        if not self.axes:
            return self.names
        return [f"{fleet}-{one}-{other}" for one in self.axes["suite"] for other in self.axes["arch"]]

    def text(self, name: str, renamed: str) -> str:
        members = f"matrix = {{ {', '.join(f'{axis} = {values}' for axis, values in self.axes.items())} }}"
        if not self.axes:
            members = f"names = {self.names}"
        return FLEET.format(name=name, members=members, network=self.network, renamed=renamed)


Edit = tuple[str, int, int]
EDITS = st.tuples(
    st.sampled_from(["add", "remove", "reorder", "move", "axis", "rename"]),
    st.integers(0, 3),
    st.integers(0, 30),
)


class Checkout:
    """A manifest that is edited, and its lock file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "tree/etc").mkdir(parents=True)
        (directory / "tree/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (directory / "token").write_text("sesame")
        self.fleets = {
            "f0": Fleet("red", ["f0-1", "f0-2", "f0-10"]),
            "f1": Fleet("blue", ["left", "right-7"]),
            "f2": Fleet("red", axes={"suite": ["trixie", "sid"], "arch": ["a", "b"]}),
        }
        self.renamed: dict[str, str] = {}
        """By the name of a VM, what it was called before the last edit."""

    def edit(self, edit: Edit) -> set[str]:
        """Edit the manifest; the names of the VMs that it is about."""
        what, which, number = edit
        name = f"f{which % 3}"
        fleet, self.renamed = self.fleets[name], {}
        before = list(fleet.members(name))
        if what == "move":
            fleet.network = "blue" if fleet.network == "red" else "red"
            return set(before)
        if fleet.axes:
            values = fleet.axes["suite" if which % 2 else "arch"]
            values[:] = [*values[1:], values[0]] if what == "reorder" else toggled(values, f"x{number % 3}")
        elif what == "add":
            fleet.names += [new] if (new := f"{name}-{number}") not in fleet.names else []
        elif what == "remove" and len(fleet.names) > 1:
            fleet.names.pop(number % len(fleet.names))
        elif what == "reorder":
            fleet.names.reverse()
        elif what == "rename" and f"{name}-new{number}" not in fleet.names:
            at = number % len(fleet.names)
            self.renamed = {f"{name}-new{number}": fleet.names[at]}
            fleet.names[at] = f"{name}-new{number}"
        return set(before) ^ set(fleet.members(name))

    def write(self) -> None:
        texts = [fleet.text(name, "") for name, fleet in self.fleets.items()]
        overrides = [f'[vm.{new}]\nrenamed_from = "{old}"\n' for new, old in self.renamed.items()]
        (self.directory / "vm.toml").write_text(HEAD + "".join((*texts, *overrides)))

    def plan(self) -> Plan:
        """The plan, whose leases are written as `apply` writes them."""
        self.write()
        loaded = pipeline.load([self.directory / "vm.toml"])
        pipeline.lock(loaded, None)
        return pipeline.plan(loaded)

    def leases(self) -> dict[tuple[str, str], str]:
        held = leases.read(self.directory / leases.FILE_NAME)
        assert not held.problems
        return {(lease.table, lease.name): lease.value for lease in held.lines}


def keep_key(store: Path) -> None:
    """Have a store with the key that others here have, of which its fingerprints of secrets are made."""
    store.mkdir()
    (store / ".secrets-key").write_bytes(bytes(32))


def toggled(values: list[str], value: str) -> list[str]:
    """The values with that one, or without it if it is there and not the only one."""
    if value not in values:
        return [*values, value]
    return [one for one in values if one != value] or values


def lines(plan: Plan) -> dict[str, tuple[Json, str]]:
    """What the plan says of each step, and its fingerprint."""
    told = plan_json(plan)["actions"]
    assert isinstance(told, list)
    return {action.id: (line, action.fingerprint) for action, line in zip(plan.actions, told, strict=True)}


def of_others(found: Mapping[str, tuple[Json, str]], names: set[str]) -> dict[str, tuple[Json, str]]:
    return {
        key: one
        for key, one in found.items()
        if StepId(key).table != "vm" or StepId(key).owner.name not in names
    }


def without_secrets(found: Mapping[str, tuple[Json, str]]) -> dict[str, object]:
    """What is said, but for the fingerprints of steps that the key of a store is part of."""
    return {
        key: {**line, "fingerprint": ""} if isinstance(line, dict) and key.endswith(".patch") else line
        for key, (line, _) in found.items()
    }


@settings(max_examples=8, phases=[Phase.generate])
@given(st.lists(EDITS, min_size=1, max_size=5))
def test_what_happens_to_others_changes_nothing_of_a_vm(edits: list[Edit]) -> None:
    with TemporaryDirectory() as name:
        checkout = Checkout(Path(name) / "one")
        keep_key(checkout.directory / "build")
        before, held = lines(checkout.plan()), checkout.leases()
        for edit in edits:
            touched = checkout.edit(edit)
            after, now = lines(checkout.plan()), checkout.leases()
            assert of_others(after, touched) == of_others(before, touched)
            taken_over = {
                (network, old): (network, new)
                for new, old in checkout.renamed.items()
                for network in ("network.red", "network.blue")
                if (network, new) not in held
            }
            expected = {taken_over.get(key, key): address for key, address in held.items()}
            assert expected.items() <= now.items()
            assert len({*now.values()}) == len(now)
            before, held = after, now
        shutil.copytree(
            checkout.directory, clean := Path(name) / "clean", ignore=shutil.ignore_patterns("build")
        )
        made = pipeline.plan(pipeline.load([clean / "vm.toml"], locked=True))
        assert without_secrets(lines(made)) == without_secrets(before)


EACH: dict[str, tuple[Edit, ...]] = {
    "add": (("add", 0, 7),),
    "remove": (("remove", 1, 0),),
    "reorder": (("reorder", 0, 0), ("reorder", 2, 0)),
    "axis": (("axis", 2, 1), ("axis", 2, 0)),
    "rename": (("rename", 0, 4),),
    "move": (("move", 1, 0),),
}
"""An edit of each kind, with more than one where the order of two could matter."""


def test_no_byte_of_a_vm_depends_on_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Checkout(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = built(checkout, "build")
    for kind, edits in EACH.items():
        touched = set.union(*(checkout.edit(edit) for edit in edits))
        after = built(checkout, kind)
        others = before.keys() - touched
        assert len(others) > len(touched)
        assert {vm: after[vm] for vm in others} == {vm: before[vm] for vm in others}
        before = after


def built(checkout: Checkout, store: str) -> dict[str, dict[str, str]]:
    """The digests of each VM's disks, made in a new store."""
    checkout.write()
    keep_key(checkout.directory / store)
    assert in_process.run("apply", "-q", "--store", store) == (0, "")
    found: dict[str, dict[str, str]] = {}
    for path in sorted((checkout.directory / store / "vms").glob("*/*.[ce]*")):
        found.setdefault(path.parent.name, {})[path.name] = clone.digest(path)
    return found
