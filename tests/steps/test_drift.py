"""What a guest changed of what is declared, and what is done about files that are no longer declared."""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.execute.workspace import JobWorkspace
from bangerbuild.model import Outcome, Verb
from tests.projects import reasons, write_tar
from tests.steps.guest_disks import IMAGE, as_guest, vm_disk

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.model import Json
    from tests.projects import Disk, Project

BASE = IMAGE + '[vm.web]\nimage = "debian"\nwork = { size = "32MiB" }\n'
CONF = '[[vm.web.file]]\nguest = "/etc/app.conf"\ncontent = "port = 80\\n"\n'
NOTE = '[[vm.web.file]]\nguest = "~/note"\ncontent = "mine\\n"\nmode = "0600"\n'
ACCOUNTS = '[[vm.web.file]]\nguest = "/etc/passwd"\ncontent = "root:x:0:0::/root:/bin/sh\\n"\n'
TREE = '[[vm.web.file_sync]]\nhost = "tree"\nguest = "/srv/tree"\n'
ROOT, ROOT_PATCH, WORK_PATCH = "vm.web.root", "vm.web.root.patch", "vm.web.work.patch"


@pytest.fixture(params=["snapshot", "raw"])
def project(debian: Project, request: pytest.FixtureRequest) -> Project:
    """A built VM with a root of either format, and a declared file on the root and on the work disk."""
    tree = debian.directory / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "one").write_text("one\n")
    (tree / "two").write_text("two\n")
    debian.write(f'{BASE}root = {{ format = "{request.param}" }}\n{CONF}{NOTE}{TREE}')
    debian.build()
    return debian


def declare(project: Project, *parts: str) -> None:
    """Declare these parts, whatever was declared before."""
    old = (project.directory / "vm.toml").read_text()
    form = "raw" if 'format = "raw"' in old else "snapshot"
    project.write(f'{BASE}root = {{ format = "{form}" }}\n{"".join(parts)}')


def is_raw(project: Project) -> bool:
    return (project.store / "vms/web/root.ext4").exists()


def as_root(project: Project) -> AbstractContextManager[Filesystem]:
    """The guest at work on its root."""
    return as_guest(project.store / "vms/web/root.ext4") if is_raw(project) else project.as_guest()


def as_home(project: Project) -> AbstractContextManager[Filesystem]:
    """The guest at work on its work disk."""
    return as_guest(project.store / "vms/web/work.ext4")


def root(project: Project) -> Disk:
    return vm_disk(project, "root") if is_raw(project) else project.guest()


def verbs(project: Project) -> dict[str, Verb]:
    return {name: action.verb for name, action in project.plan().items() if action.verb is not Verb.KEEP}


def differing(project: Project) -> dict[str, list[Json]]:
    """The guest paths that differ, by step."""
    found = {name: reasons(action) for name, action in project.plan().items()}
    return {
        name: [reason["guest"] for reason in each if reason["code"] == "file-differs"]
        for name, each in found.items()
        if any(reason["code"] == "file-differs" for reason in each)
    }


def test_what_a_guest_writes_elsewhere_is_no_drift(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/var/log/syslog", b"booted\n")
        disk.write_file("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n")
    with as_home(project) as disk:
        disk.write_file("/history", b"ls\n")
    assert verbs(project) == {}


def test_declared_files_that_a_guest_changed_are_named_and_put_right(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/etc/app.conf", b"port = 8080\n")
        disk.set_attributes("/etc/hostname", mode=0o600)
        disk.remove("/srv/tree/two")
        disk.write_file("/var/own", b"own\n")
    with as_home(project) as disk:
        disk.write_file("/note", b"yours\n", mode=0o600)
    assert verbs(project) == {ROOT_PATCH: Verb.UPDATE, WORK_PATCH: Verb.UPDATE}
    assert differing(project) == {
        ROOT_PATCH: ["/etc/app.conf", "/etc/hostname", "/srv/tree/two"],
        WORK_PATCH: ["/root/note"],
    }
    project.build()
    built = root(project)
    built.assert_clean()
    assert built.text("/etc/app.conf") == "port = 80\n"
    assert built.stat("/etc/hostname").mode == "0644"
    assert built.text("/srv/tree/two") == "two\n"
    assert built.text("/var/own") == "own\n"
    assert vm_disk(project, "work").text("/note") == "mine\n"
    assert verbs(project) == {}


def test_the_diff_shows_what_is_on_the_disk_now(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/etc/app.conf", b"port = 8080\n")
    (diff,) = project.plan()[ROOT_PATCH].diffs
    assert diff.guest == "/etc/app.conf"
    assert "-port = 8080\n+port = 80\n" in str(diff.text)


def test_what_is_to_be_kept_secret_is_not_shown(project: Project) -> None:
    with as_home(project) as disk:
        disk.write_file("/note", b"yours\n", mode=0o600)
    (diff,) = project.plan()[WORK_PATCH].diffs
    assert (diff.guest, diff.text, diff.note) == ("/root/note", None, "changes (contents not shown)")


def test_files_that_are_as_they_shall_be_are_not_written_again(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/etc/app.conf", b"port = 8080\n")
    names = ("/etc/hosts", "/srv/tree/two")
    before = [root(project).inode(name) for name in names]
    project.build()
    assert [root(project).inode(name) for name in names] == before


def test_a_second_look_at_a_disk_that_a_guest_used_is_a_stat(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_root(project) as disk:
        disk.write_file("/var/log/syslog", b"booted\n")
    old = time.time() - 60
    for path in (project.store / "vms/web").glob("*"):
        os.utime(path, (old, old))
    project.build()
    monkeypatch.setattr("bangerbuild.steps.disks.opened_to_read", None)
    assert verbs(project) == {}


def test_a_file_that_leaves_the_manifest_is_removed(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/var/own", b"own\n")
    declare(project, NOTE)
    action = project.plan()[ROOT_PATCH]
    undeclared = [reason["guest"] for reason in reasons(action) if reason["code"] == "file-undeclared"]
    assert undeclared == [
        "/srv/tree/two", "/srv/tree/deep/one", "/srv/tree/deep", "/srv/tree", "/etc/app.conf",
    ]  # fmt: skip
    assert "-port = 80\n" in "".join(str(diff.text) for diff in action.diffs)
    project.build()
    built = root(project)
    built.assert_clean()
    assert not built.exists("/etc/app.conf")
    assert not built.exists("/srv/tree")
    assert built.text("/var/own") == "own\n"
    assert vm_disk(project, "work").text("/note") == "mine\n"
    assert verbs(project) == {}


def test_a_file_that_leaves_the_manifest_but_was_changed_stays_and_is_reported(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/etc/app.conf", b"port = 8080\n")
        disk.write_file("/srv/tree/deep/own", b"own\n")
    declare(project, NOTE)
    (kept,) = [reason for reason in reasons(project.plan()[ROOT_PATCH]) if reason.get("kept")]
    assert kept == {"code": "file-undeclared", "guest": "/etc/app.conf", "kept": True}
    project.build()
    assert "'/etc/app.conf' left the manifest, but was changed in the guest: it stays" in "".join(
        project.warnings
    )
    built = root(project)
    assert built.text("/etc/app.conf") == "port = 8080\n"
    assert built.text("/srv/tree/deep/own") == "own\n"
    assert not built.exists("/srv/tree/two")
    assert verbs(project) == {}


def test_in_place_of_a_file_that_leaves_the_manifest_the_images_own_comes_back(project: Project) -> None:
    own = root(project).text("/etc/passwd")
    declare(project, CONF, NOTE, ACCOUNTS)
    project.build()
    with as_root(project) as disk:
        disk.write_file("/var/own", b"own\n")
    assert root(project).text("/etc/passwd") != own
    declare(project, CONF, NOTE)
    project.build()
    built = root(project)
    built.assert_clean()
    assert built.text("/etc/passwd") == own
    assert verbs(project) == {}


def test_a_disk_that_is_held_is_kept_unread_whatever_was_changed_in_it(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/etc/app.conf", b"port = 8080\n")
    path = next((project.store / "vms/web").glob("root.*"))
    with path.open("r+b"):
        assert verbs(project) == {}
    assert verbs(project) == {ROOT_PATCH: Verb.UPDATE}


def touch_all(store: Path) -> None:
    """Other times, as after an unpacked archive."""
    for path in store.rglob("*.ext4"):
        path.chmod(0o600)
        os.utime(path)


@pytest.fixture
def copied(project: Project) -> Project:
    """The same project with a store whose files have other inodes and times."""
    copy = project.directory / "copy"
    shutil.copytree(project.store, copy)
    shutil.rmtree(project.store)
    copy.rename(project.store)
    touch_all(project.store)
    return project


def test_a_store_that_was_copied_is_current(copied: Project) -> None:
    assert verbs(copied) == {}


def test_a_root_that_no_guest_used_is_still_ours_in_a_copied_store(copied: Project) -> None:
    copied.build()
    (copied.directory / "root.tar").unlink()
    write_tar(copied.directory / "root.tar", {"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/new": "n\n"})
    assert copied.plan()[ROOT].verb is Verb.REPLACE


def test_a_patch_that_fails_leaves_a_guests_disk_byte_for_byte(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/var/own", b"own\n")
        disk.make_directory("/etc/taken")
    path = next((project.store / "vms/web").glob("root.*"))
    before = path.read_bytes()
    taken = '[[vm.web.file]]\nguest = "/etc/taken"\ncontent = ""\n'
    declare(project, CONF.replace("80", "81"), NOTE, TREE, taken)
    assert project.blocked(ROOT_PATCH)["guest"] == "/etc/taken"
    assert path.read_bytes() == before
    assert not list((project.store / "vms/web").glob("*.redo"))


def test_a_file_that_an_interrupted_run_wrote_is_removed_if_it_is_no_longer_declared(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with as_root(project) as disk:
        disk.write_file("/var/own", b"own\n")
    new = '[[vm.web.file]]\nguest = "/etc/new.conf"\ncontent = "new\\n"\n'
    declare(project, CONF, NOTE, TREE, new)
    with monkeypatch.context() as patched:
        patched.setattr(JobWorkspace, "wrote", interrupt)
        with pytest.raises(KeyboardInterrupt):
            project.apply()
    assert root(project).text("/etc/new.conf") == "new\n"
    declare(project, CONF, NOTE, TREE)
    assert reasons(project.plan()[ROOT_PATCH]) == [
        {"code": "interrupted"},
        {"code": "file-undeclared", "guest": "/etc/new.conf"},
    ]
    project.build()
    assert not root(project).exists("/etc/new.conf")
    assert verbs(project) == {}


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_a_guest_changed_is_still_seen_after_the_disk_grew_and_its_patch_failed(
    project: Project,
) -> None:
    with as_root(project) as disk:
        disk.write_file("/etc/app.conf", b"port = 8080\n")
        disk.make_directory("/etc/taken")
    taken = '[[vm.web.file]]\nguest = "/etc/taken"\ncontent = ""\n'
    declare(project, CONF, NOTE, TREE, taken)
    larger(project)
    results = project.apply()
    assert (results[ROOT].outcome, results[ROOT_PATCH].outcome) == (Outcome.DONE, Outcome.SKIPPED)
    declare(project, CONF, NOTE, TREE)
    larger(project)
    assert differing(project) == {ROOT_PATCH: ["/etc/app.conf"]}
    project.build()
    assert root(project).text("/etc/app.conf") == "port = 80\n"


def larger(project: Project) -> None:
    """The root is to grow."""
    manifest = (project.directory / "vm.toml").read_text()
    project.write(
        re.sub(r'root = { format = "(\w+)" }', r'root = { format = "\1", size = "64MiB" }', manifest)
    )


def test_every_file_is_read_back_after_a_patch(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with as_root(project) as disk:
        disk.write_file("/var/own", b"own\n")
    declare(project, CONF.replace("80", "81"), NOTE, TREE)
    monkeypatch.setattr(
        "bangerbuild.disk.ledger_lines.is_there", lambda _disk, path, _line: path != "/etc/hosts"
    )
    error = project.error(ROOT_PATCH)
    assert error.brief.startswith("'/etc/hosts' in 'vms/web/root.")
    assert error.brief.endswith("does not read back as it was written")


def test_planning_writes_nothing_into_a_guests_disk(project: Project) -> None:
    with as_root(project) as disk:
        disk.write_file("/etc/app.conf", b"port = 8080\n")
    before = {path: path.read_bytes() for path in (project.store / "vms/web").iterdir()}
    pipeline.plan(pipeline.load_request(project.request(), project.warnings.append))
    assert {path: path.read_bytes() for path in (project.store / "vms/web").iterdir()} == before
