"""Roots that are qcow2 files of a kind we do not write, or damaged: read and patched, or refused by name.

One project has a VM for each. All are built, their files replaced, and then every command is run once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.disk.ext4_tools import assert_clean, debugfs
from tests.disk.qemu_img import checked, converted
from tests.hostile.qcow2_files import OTHERS, Other
from tests.hostile.running import Ran, digest, run
from tests.projects import DEBIAN, Project, write_tar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEAD = """\
[image.debian.rootfs]
tar = "rootfs.tar"
size = "24MiB"
[defaults.root]
format = "qcow2"
[[file]]
guest = "/etc/motd"
content = "{motd}"
"""
SOUND = [other for other in OTHERS if other.message is None]
UNUSABLE = [other for other in OTHERS if other.message is not None]


@dataclass(frozen=True)
class Replaced:
    """A project whose roots were all replaced, and what the commands said then."""

    project: Project
    roots: Mapping[str, str]
    """The digests of the files that took their place."""
    images: Mapping[Path, str]
    runs: Mapping[str, Ran]

    def actions(self, name: str) -> dict[str, dict[str, Any]]:
        """What a run said of each step."""
        return {action["id"]: action for action in json.loads(self.runs[name].stdout)["actions"]}


@pytest.fixture(scope="module")
def replaced(tmp_path_factory: pytest.TempPathFactory) -> Replaced:
    project = Project(tmp_path_factory.mktemp("qcow2"))
    top = project.directory
    write_tar(top / "rootfs.tar", DEBIAN)
    declare(project, "one")
    run("apply", "-q", cwd=top).assert_fine(0)
    images = {path: digest(path) for path in project.store.glob("images/*/*/*.ext4")}
    for other in OTHERS:
        other.make(root_of(project, other))
    roots = {other.name: fingerprint(root_of(project, other)) for other in OTHERS}
    declare(project, "two")
    commands = {
        "plan": ("plan", "--json"),
        "status": ("status", "--json"),
        "apply": ("apply", "-k", "-q", "--json"),
        "again": ("apply", "-k", "-q", "--json"),
        "verify": ("verify", "--json"),
        "gc": ("gc", "-n"),
    }
    runs = {name: run(*command, cwd=top) for name, command in commands.items()}
    return Replaced(project, roots, images, runs)


def declare(project: Project, motd: str) -> None:
    vms = "".join(f'[vm.{other.name}]\nimage = "debian"\n' for other in OTHERS)
    project.write(HEAD.format(motd=motd) + vms)


def root_of(project: Project, other: Other) -> Path:
    return project.store / "vms" / other.name / "root.qcow2"


def fingerprint(path: Path) -> str:
    """What tells a file from another: the content of its first MiB; one of them has 8 TiB, of holes."""
    with path.open("rb") as file:
        return f"{path.stat().st_size} {file.read(1 << 20).hex()}"


@pytest.mark.parametrize("other", SOUND, ids=lambda other: other.name)
def test_what_can_be_read_is_patched_where_it_lies(replaced: Replaced, other: Other, tmp_path: Path) -> None:
    assert replaced.actions("plan")[f"vm.{other.name}.root.patch"]["action"] == "update"
    assert replaced.actions("apply")[f"vm.{other.name}.root.patch"]["result"] == "done"
    assert replaced.actions("again")[f"vm.{other.name}.root.patch"]["action"] == "keep"
    root = root_of(replaced.project, other)
    checked(root)
    raw = converted(root, tmp_path / "root.ext4")
    assert_clean(raw)
    assert debugfs(raw, "cat /etc/motd") == b"two"
    assert debugfs(raw, "cat /etc/hostname").decode().strip() == other.name


@pytest.mark.parametrize("other", UNUSABLE, ids=lambda other: other.name)
def test_what_can_t_be_used_is_refused_by_name_and_stays_as_it_is(replaced: Replaced, other: Other) -> None:
    planned = replaced.actions("plan")[f"vm.{other.name}.root"]
    assert planned["action"] == "blocked"
    assert other.message is not None
    assert other.message in json.dumps(planned["reasons"], ensure_ascii=False).replace('\\"', '"')
    for name in ("apply", "again"):
        applied = replaced.actions(name)
        assert applied[f"vm.{other.name}.root"]["reasons"] == planned["reasons"]
        assert applied[f"vm.{other.name}.root.patch"]["action"] == "blocked"
    assert fingerprint(root_of(replaced.project, other)) == replaced.roots[other.name]


@pytest.mark.parametrize("other", UNUSABLE, ids=lambda other: other.name)
def test_what_can_t_be_used_is_neither_listed_nor_read(replaced: Replaced, other: Other) -> None:
    for command in (("ls",), ("cat",)):
        ran = run(*command, f"build/vms/{other.name}/root.qcow2", "/etc/motd", cwd=replaced.project.directory)
        ran.assert_fine(1)
        assert f"vms/{other.name}/root.qcow2" in ran.stderr


def test_what_can_be_read_is_listed_and_read(replaced: Replaced) -> None:
    for other in SOUND:
        ran = run("cat", f"build/vms/{other.name}/root.qcow2", "/etc/motd", cwd=replaced.project.directory)
        ran.assert_fine(0)
        assert ran.stdout == b"two"


def test_verify_names_each_that_can_t_be_used_and_no_other(replaced: Replaced) -> None:
    checks = json.loads(replaced.runs["verify"].stdout)["checks"]
    wrong = {check["path"] for check in checks if check["result"] != "ok"}
    assert wrong == {f"vms/{other.name}/root.qcow2" for other in UNUSABLE}


@pytest.mark.parametrize("name", ["plan", "status", "apply", "again", "verify", "gc"])
def test_every_run_ends_in_time_and_in_bounds(replaced: Replaced, name: str) -> None:
    replaced.runs[name].assert_fine(0 if name in {"plan", "status", "gc"} else 1, disks=len(OTHERS))


def test_no_byte_of_the_image_changes(replaced: Replaced) -> None:
    assert {path: digest(path) for path in replaced.images} == replaced.images
