"""A secret as a plan sees it: by keyed digests, read once, and only where something needs it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline, store
from bangerbuild.errors import ManifestError
from bangerbuild.model import Outcome, Reason, ReasonCode, Verb
from bangerbuild.model.request import Request
from bangerbuild.store import secrets_key
from tests.steps.guest_disks import IMAGE, as_guest, vm_disk

if TYPE_CHECKING:
    from tests.projects import Project

TWO = f"""{IMAGE}
[vm.web]
image = "debian"
work = {{ size = "16MiB" }}
[[vm.web.file]]
guest = "/etc/token"
content = {{ env = "TOKEN" }}
[[vm.web.file]]
guest = "~/token"
content = {{ command = ["./ask"] }}
[vm.db]
image = "debian"
"""
PATCH, WORK = "vm.web.root.patch", "vm.web.work.patch"


@pytest.fixture
def project(debian: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A VM with a secret on each of its disks, built."""
    ask = debian.directory / "ask"
    ask.write_text("#!/bin/sh\nprintf . >> asked\nprintf 'odd \\377\\n'\n")
    ask.chmod(0o755)
    monkeypatch.setenv("TOKEN", "first")
    debian.write(TWO)
    debian.build()
    return debian


def asked(project: Project) -> int:
    """How often the command ran."""
    place = project.directory / "asked"
    count = len(place.read_text()) if place.exists() else 0
    place.unlink(missing_ok=True)
    return count


def test_a_secret_is_read_once_for_a_plan_and_written_byte_for_byte(project: Project) -> None:
    assert asked(project) == 1
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
    assert asked(project) == 1
    assert project.guest().read("/etc/token") == b"first"
    assert vm_disk(project, "work").read("/token") == b"odd \xff\n"


def test_a_change_is_an_update_of_its_patch_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "second")
    changed = {key: action for key, action in project.plan().items() if action.verb is not Verb.KEEP}
    assert list(changed) == [PATCH]
    written = "the environment variable 'TOKEN'"
    assert changed[PATCH].reasons == (Reason(ReasonCode.SOURCE_CHANGED, {"path": written}),)
    project.build()
    assert project.guest().read("/etc/token") == b"second"


def test_the_same_secret_from_elsewhere_changes_nothing(project: Project) -> None:
    (project.directory / "token").write_text("first")
    project.write(TWO.replace('env = "TOKEN"', 'file = "token"'))
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


def test_with_a_lost_key_what_holds_secrets_is_updated(project: Project) -> None:
    (project.store / secrets_key.NAME).unlink()
    plan = project.plan()
    assert {key for key, action in plan.items() if action.verb is not Verb.KEEP} == {PATCH, WORK}
    assert {plan[key].verb for key in (PATCH, WORK)} == {Verb.UPDATE}
    project.build()
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


def test_a_reviewed_plan_of_a_store_without_a_key_is_what_is_done(project: Project) -> None:
    shutil.rmtree(project.store)
    made = pipeline.plan(pipeline.load_request(project.request()))
    assert {result.outcome for result in pipeline.apply(made).results} == {Outcome.DONE}
    assert project.guest().read("/etc/token") == b"first"


def test_a_guest_that_changed_its_file_is_told_by_the_salted_digest(project: Project) -> None:
    with as_guest(project.store / "vms/web/work.ext4") as disk:
        disk.write_file("/token", b"odd \xfe\n", mode=0o600)
    os.utime(project.store / "vms/web/work.ext4", (1_700_000_000, 1_700_000_000))
    (reason,) = project.plan()[WORK].reasons
    assert reason == Reason(ReasonCode.FILE_DIFFERS, {"guest": "/root/token"})
    project.build()
    assert vm_disk(project, "work").read("/token") == b"odd \xff\n"


def test_a_file_that_is_no_secret_any_more_is_withdrawn_without_a_diff(project: Project) -> None:
    project.write(TWO.replace('content = { env = "TOKEN" }', 'content = { env = "TOKEN" }\nmode = "0644"'))
    project.build()
    project.write(TWO.replace('guest = "/etc/token"', 'guest = "/etc/other"'))
    action = project.plan()[PATCH]
    assert not any("first" in (diff.text or "") for diff in action.diffs)
    assert {diff.guest: diff.note for diff in action.diffs}["/etc/token"] == "changes (contents not shown)"


def test_who_only_looks_needs_no_secret(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN")
    asked(project)
    plan, _ = pipeline.look_leniently(pipeline.load_request(project.request()), print)
    assert ({action.verb for action in plan.actions}, plan.unjudged) == ({Verb.KEEP}, frozenset())
    assert asked(project) == 0
    with pytest.raises(ManifestError) as caught:
        project.plan()
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (
        TWO[: TWO.index("{ env")].count("\n") + 1,
        "vm.web.file[0].content",
    )


def test_a_part_of_a_manifest_needs_its_own_secrets_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN")
    asked(project)
    for target in ("vm.db", "vm.web.work"):
        request = Request((project.directory / "vm.toml",), targets=(target,))
        made = pipeline.plan(pipeline.load_request(request))
        assert {action.verb for action in made.actions} == {Verb.KEEP}
    assert asked(project) == 1


def test_records_hold_no_digest_that_could_be_looked_up(project: Project) -> None:
    opened = store.read(project.store)
    (digest,) = opened.records[PATCH].recipe.sources.values()
    assert digest.startswith("keyed:")
    *_, salt_and_digest = opened.ledger(PATCH)["/etc/token"].split()
    assert len(salt_and_digest) == 64 + 1 + 64
