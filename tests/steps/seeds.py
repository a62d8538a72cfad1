"""Manifests with work seeds, and what is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.projects import Disk
from tests.steps.guest_disks import (
    IMAGE,
)

if TYPE_CHECKING:
    from tests.projects import Project


FILES = {".bashrc": "alias ll='ls -l'\n", ".config/app.toml": "dark = true\n"}


def seed_of(project: Project, source: str, vms: str = "") -> None:
    """A manifest whose image has that work seed."""
    project.write(f"{IMAGE}[image.debian.work_seed]\n{source}\n{vms}")


def vm(name: str, size: str = "") -> str:
    work = f'work.size = "{size}"\n' if size else ""
    return f'[vm.{name}]\nimage = "debian"\n{work}'


def made(project: Project, name: str = "work-seed") -> Disk:
    (path,) = project.store.glob(f"images/debian/*/{name}.ext4")
    return Disk(path)


def host_tree(project: Project, *, nested: bool) -> None:
    top = project.directory / "skel" / ("root" if nested else "")
    for name, content in FILES.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(content)


def assert_holds_the_files(seed: Disk) -> None:
    seed.assert_clean()
    assert {name: seed.text(f"/{name}") for name in FILES} == FILES
    assert seed.names("/") == {".bashrc", ".config", "lost+found"}
