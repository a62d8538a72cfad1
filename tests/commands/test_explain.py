"""What there is to say of a step: of its recipe, its neighbours, and its last run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.commands import explain
from bangerbuild.errors import UsageError
from bangerbuild.model import Recipe, Record, Verb
from bangerbuild.model.request import Request
from tests.projects import Project, write_small

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """\
[image.small]
rootfs = { directory = "tree", size = "16MiB" }

[vm.web]
image = "small"
work = false
hostname = "one"

[[vm.web.file]]
guest = "/etc/app.conf"
content = "password = hunter2\\n"
mode = "0600"

[[vm.web.file]]
guest = "/etc/secret"
content = { env = "BANGER_SECRET" }

[[vm.web.file_sync]]
host = "tree"
guest = "/opt"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("BANGER_SECRET", "tiger")
    write_small(tmp_path, MANIFEST)
    return Project(tmp_path)


def asked(project: Project, name: str) -> list[explain.Explanation]:
    """Explanations; asking has to work without the secret, and to warn of nothing."""
    warnings: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BANGER_SECRET")
        found = explain.explained(Request((project.directory / "vm.toml",)), name, warnings.append)
    assert warnings == []
    return found


def text(project: Project, name: str) -> dict[str, list[str]]:
    """The sections of one step, by their titles."""
    (found,) = asked(project, name)
    sections: dict[str, list[str]] = {}
    title = ""
    for line in list(explain.lines(found))[1:]:
        title = line[2:13].strip() or title
        sections.setdefault(title, []).append(line[13:])
    return sections


def test_a_step_that_was_never_made_says_so_and_what_it_will_be_made_of(project: Project) -> None:
    found = text(project, "image.small.rootfs")
    assert found["declared"] == [f"{project.directory}/vm.toml:1"]
    assert found["next apply"] == ["create: missing"]
    assert found["last made"] == ["never"]
    assert found["reads"] == ["tree (rootfs.directory)"]
    assert "rootfs.size = 16 MiB" in found["keys"]
    assert found["needed by"] == ["vm.web.root, vm.web.root.patch"]


def test_a_step_says_why_it_was_made_last_and_what_the_next_run_does(project: Project) -> None:
    project.build()
    assert text(project, "vm.web.root.patch")["last made"] == ["create: missing"]
    project.write(MANIFEST.replace("one", "two"))
    assert text(project, "vm.web.root.patch")["next apply"] == ["update: hostname: one -> two"]
    project.build()
    found = text(project, "vm.web.root.patch")
    assert found["last made"] == ["update: hostname: one -> two"]
    assert found["next apply"] == ["keep"]
    assert found["makes"] == ["changes vm.web.root in place"]


def test_what_would_change_a_step_is_named(project: Project) -> None:
    assert text(project, "vm.web.root.patch")["changed by"] == [
        "another value of one of its keys",
        "another content of what it reads",
        "another fingerprint of vm.web.root",
        "a declared file that is changed in the guest",
        "not another version of a tool: what is there stays as it is",
    ]


def test_neither_a_secret_nor_a_digest_of_content_is_shown(project: Project) -> None:
    project.build()
    (found,) = asked(project, "vm.web.root.patch")
    document = explain.to_json(found)
    shown = str(document) + "\n".join(explain.lines(found))
    assert not any(word in shown for word in ("tiger", "hunter2", "sha256:"))
    assert all(digest not in shown for digest in found.recipe.sources.values())
    assert document["sources"] == {
        "file[/etc/secret].content": "the environment variable 'BANGER_SECRET'",
        "file_sync[/opt]": "tree",
    }
    assert document["keys"]["file[/etc/app.conf]"]["content"] is None  # type: ignore[index, call-overload]
    assert "file[/etc/app.conf].content (not shown)" in "\n".join(explain.lines(found))


def test_the_document_says_the_same(project: Project) -> None:
    project.build()
    (found,) = asked(project, "vm.web.root")
    document = explain.to_json(found)
    assert (
        document
        | {
            "id": "vm.web.root",
            "kind": "root-overlay",
            "action": "keep",
            "reasons": [],
            "line": 4,
            "artifacts": ["vms/web/root.cow"],
            "changes": None,
            "needs": ["image.small.rootfs"],
            "needed_by": ["vm.web.root.patch", "vm.web.launch"],
            "is_made": True,
            "last_made": {"action": "create", "reasons": [{"code": "missing"}]},
        }
        == document
    )


def test_a_vm_is_all_of_its_steps_in_their_order(project: Project) -> None:
    ids = ["vm.web.root", "vm.web.root.patch", "vm.web.launch"]
    assert [found.id for found in asked(project, "vm.web")] == ids
    assert [found.id for found in asked(project, "vm.w*")] == ids


def test_what_left_the_manifest_is_told_from_its_record(project: Project) -> None:
    project.build()
    project.write(MANIFEST.replace("vm.web", "vm.new"))
    found = text(project, "vm.web.root")
    assert found["declared"] == ["no longer, or by another manifest"]
    assert "next apply" not in found
    assert found["last made"] == ["create: missing"]
    assert found["inputs"][0].startswith("image.small.rootfs ")
    (explanation,) = asked(project, "vm.web.root")
    assert (explain.to_json(explanation)["action"], explanation.needs) == (None, ("image.small.rootfs",))


def test_a_name_that_means_nothing_is_answered_with_its_neighbour(project: Project) -> None:
    with pytest.raises(UsageError) as caught:
        asked(project, "vm.web.rot")
    assert caught.value.hint == "did you mean 'vm.web.root'?"


@pytest.mark.parametrize(
    "made",
    [None, 3, [], {"action": "x", "reasons": [3, {}, {"code": "no"}, {"code": "size-grow", "old": "x"}]}],
)
def test_a_record_that_somebody_else_wrote_does_no_harm(made: object) -> None:
    record = Record("vm.a.root", Recipe("fake", {}, {}, {}, {}), "f", ("vms/a/root.cow",), {}, made)  # type: ignore[arg-type]
    found = explain.Explanation(record.id, record.recipe, "f", record.artifacts, record=record)
    lines = list(explain.lines(found))
    assert any(line.startswith("  last made") for line in lines)


def test_control_characters_of_a_manifest_are_spelled_out() -> None:
    recipe = Recipe("fake", {"hostname": "\x1b[31m"}, {}, {}, {})
    found = explain.Explanation("vm.a.root", recipe, "f", ("a",))
    assert "\x1b" not in "\n".join(explain.lines(found))


def test_why_it_was_made_is_remembered_in_the_store_and_no_fact_of_the_step(project: Project) -> None:
    project.build()
    record = store.read(project.store).records["vm.web.root"]
    assert record.made == {"action": "create", "reasons": [{"code": "missing"}]}
    assert "made" not in record.facts
    assert replace(record, made=None) == record


def test_a_vm_that_is_to_be_renamed_is_explained_as_it_will_be_moved(project: Project) -> None:
    project.apply()
    project.write(MANIFEST.replace("vm.web", "vm.www").replace("work =", 'renamed_from = "web"\nwork ='))
    (found,) = asked(project, "vm.www.root")
    assert found.action is not None
    assert found.action.verb is Verb.MOVE
    assert found.record is not None
