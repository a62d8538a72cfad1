"""Model: whatever is declared, written by the guest, applied and killed in whatever order, the guest's disks
hold what plain dictionaries say.

The sequences are drawn by hypothesis, the same ones each time. After a kill nobody knows which disk is as
before and which as after the run: either will do, but the next run has to bring both to the same end.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import tomli_w
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.disk.ext4_tools import assert_clean
from tests.drills.calls import KINDS, Hit
from tests.drills.drill import NOTHING_DONE, copied
from tests.drills.model import IMAGE, KEYS, ROOT, WORK, Disk, Manifest
from tests.drills.scenes import base_of, write_tree, written_by_guest
from tests.drills.trees import Node, differences, directory, file, tree
from tests.manifests import KEY
from tests.projects import merge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.drills.running import Runner
    from tests.drills.trees import Tree

DECLARED = ("/etc/app.conf", "/etc/motd", "/etc/new/deep.conf", "/root/.profile", "/root/.config/tool")
SYNCED = ("/index.html", "/pictures/logo", "/old")
WRITTEN = (
    *((ROOT, path) for path in ("/etc/app.conf", "/etc/motd", "/etc/hostname", "/etc/resolv.conf")),
    *((ROOT, path) for path in ("/etc/machine-id", "/srv/site/index.html", "/srv/site/own", "/var/own")),
    *((WORK, path) for path in ("/.profile", "/.config/tool", KEYS, "/own")),
)
"""Where guests write: declared files, files that may be, and their own."""
DIRECTORIES = ("/", "/bin", "/etc", "/root", "/run", "/srv", "/tmp", "/var")

contents = st.sampled_from([b"", b"one\n", b"two\n", b"large" * 2000])
host_files = st.builds(file, contents, st.sampled_from([0o600, 0o644]))
files = st.builds(file, contents, st.sampled_from([0o600, 0o644, 0o755]), st.sampled_from([0, 33]))


class Guest(RuleBasedStateMachine):
    """One VM: its manifest is edited, its disks are written to, it is built, and killed at that."""

    runner: ClassVar[Runner]
    prepared: ClassVar[Path]
    """A project that is built as the empty manifest says."""

    def __init__(self) -> None:
        super().__init__()
        self.project = self.prepared.with_name("project")
        copied(self.prepared, self.project)
        self.manifest = Manifest()
        self.disks = {name: [Disk(name).applied(self.manifest)] for name in (ROOT, WORK)}
        """How each disk may be."""
        self.is_killed = self.is_changed = False

    # the manifest

    @rule(path=st.sampled_from(DECLARED), node=files)
    def declare_a_file(self, path: str, node: Node) -> None:
        self.declare(files={**self.manifest.files, path: node})

    @rule(path=st.sampled_from(DECLARED))
    def drop_a_file(self, path: str) -> None:
        self.declare(files=without(self.manifest.files, path))

    @rule(path=st.sampled_from(SYNCED), node=host_files)
    def write_a_host_file(self, path: str, node: Node) -> None:
        self.declare(synced={**self.manifest.synced, path: node})

    @rule(path=st.sampled_from(SYNCED))
    def remove_a_host_file(self, path: str) -> None:
        self.declare(synced=without(self.manifest.synced, path))

    @rule(server=st.sampled_from([None, "1.1.1.1", "9.9.9.9"]))
    def name_a_dns_server(self, server: str | None) -> None:
        self.declare(dns=server)

    @rule(name=st.sampled_from(["web", "db"]))
    def name_the_host(self, name: str) -> None:
        self.declare(hostname=name)

    @rule(given=st.booleans())
    def give_keys(self, *, given: bool) -> None:
        self.declare(keys=given)

    @rule(more_mib=st.integers(1, 4))
    def enlarge_the_work_disk(self, more_mib: int) -> None:
        self.declare(work_mib=self.manifest.work_mib + more_mib)

    def declare(self, **changes: Any) -> None:  # noqa: ANN401  # fields of a Manifest
        before, self.manifest = self.manifest, self.manifest.with_(**changes)
        self.is_changed |= self.manifest != before
        write_project(self.project, self.manifest)

    # the guest, which is not started while its disks are changed by half

    @precondition(lambda self: not self.is_killed)
    @rule(where=st.sampled_from(WRITTEN), node=files)
    def write_as_guest(self, where: tuple[str, str], node: Node) -> None:
        name, path = where
        with written_by_guest(self.project, f"web/{name}") as disk:
            disk.write_file(path, node.content, mode=node.mode & 0o7777, uid=node.uid, gid=node.gid)
        self.wrote(name, path, node)

    @precondition(lambda self: not self.is_killed)
    @rule(where=st.sampled_from(WRITTEN))
    def remove_as_guest(self, where: tuple[str, str]) -> None:
        name, path = where
        if path in self.disks[name][0].files:
            with written_by_guest(self.project, f"web/{name}") as disk:
                disk.remove(path)
            self.wrote(name, path, None)

    def wrote(self, name: str, path: str, node: Node | None) -> None:
        self.disks[name] = [disk.written(path, node) for disk in self.disks[name]]
        self.is_changed = True

    # and bangerbuild

    @precondition(lambda self: self.is_changed)
    @rule()
    def apply(self) -> None:
        self.runner.run("apply", "-j1", project=self.project).assert_done()
        self.check()
        again = self.runner.run("apply", "-j1", project=self.project)
        assert NOTHING_DONE.fullmatch(again.output), again.errors

    @precondition(lambda self: self.is_changed)
    @rule(percent=st.integers(0, 99))
    def kill(self, percent: int) -> None:
        at = 1 + self.calls() * percent // 100
        ended = self.runner.run("apply", "-j1", project=self.project, hit=Hit(KINDS, at))
        if not ended.was_killed:
            ended.assert_done()
            self.check()
            return
        self.is_killed = True
        for name, disks in self.disks.items():
            self.disks[name] = distinct([*disks, *(disk.applied(self.manifest) for disk in disks)])
        self.runner.run("plan", project=self.project).assert_done()

    def calls(self) -> int:
        """How many calls the next run makes: made in a copy."""
        copy = self.project.with_name("copy")
        copied(self.project, copy)
        ended = self.runner.run("apply", "-j1", project=copy)
        ended.assert_done()
        return sum(ended.seen.counts.values())

    def check(self) -> None:
        """After a run the disks are as the model says; from then on one way only."""
        self.is_killed = self.is_changed = False
        for name, disks in self.disks.items():
            found = self.found(name)
            ends = distinct([disk.applied(self.manifest) for disk in disks])
            wrong = [differences(found, end.files) for end in ends]
            assert [] in wrong, f"{name}: {wrong}"
            self.disks[name] = [end for end in ends if end.files == found]

    def found(self, name: str) -> Tree:
        """The files on a disk, which e2fsck finds clean."""
        path = self.project / "build" / "vms" / "web" / name
        if name == ROOT:
            path = merge(base_of(self.project, f"web/{name}"), path, self.project.with_name("merged.ext4"))
        assert_clean(path)
        return {where: node for where, node in tree(path).items() if not node.is_directory}


def without(tree: Mapping[str, Node], path: str) -> dict[str, Node]:
    return {name: node for name, node in tree.items() if name != path}


def distinct(disks: list[Disk]) -> list[Disk]:
    return [disk for number, disk in enumerate(disks) if disk not in disks[:number]]


def write_project(project: Path, manifest: Manifest) -> None:
    """The manifest and what it names."""
    shutil.rmtree(project / "site", ignore_errors=True)
    tree = {"/": directory(), "/pictures": directory(), **manifest.synced}
    write_tree(project / "site", tree)
    (project / "vm.toml").write_text(tomli_w.dumps(document(manifest)))


def document(manifest: Manifest) -> dict[str, Any]:
    return {
        "image": {"tiny": {"rootfs": {"directory": "tree", "size": "16MiB"}}},
        "vm": {
            "web": {
                "image": "tiny",
                "hostname": manifest.hostname,
                "ssh_authorized_keys": [KEY] if manifest.keys else [],
                "guest": {"sshd": False, "network": False, "fstab": False},
                "network": {"dns": [manifest.dns]} if manifest.dns else {},
                "work": {"size": f"{manifest.work_mib}MiB"},
                "file": [
                    {
                        "guest": path,
                        "content": node.content.decode(),
                        "mode": f"{node.mode & 0o7777:04o}",
                        "owner": f"{node.uid}:{node.gid}",
                    }
                    for path, node in manifest.files.items()
                ],
                "file_sync": [{"host": "site", "guest": "/srv/site"}],
            }
        },
    }


@pytest.fixture(scope="module")
def prepared(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every sequence begins with."""
    project = tmp_path_factory.mktemp("model") / "prepared"
    project.mkdir()
    write_tree(project / "tree", {path: directory() for path in DIRECTORIES} | dict(IMAGE))
    write_project(project, Manifest())
    runner.run("apply", "-j1", project=project).assert_done()
    return project


def test_the_guests_disks_hold_what_the_model_says(runner: Runner, prepared: Path) -> None:
    Guest.runner, Guest.prepared = runner, prepared
    run_state_machine_as_test(
        Guest,
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
