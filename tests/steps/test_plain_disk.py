"""A raw disk that is a guest's from the moment it is published: made once, then only grown or named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest

from bangerbuild.disk import making
from bangerbuild.disk.tools import Geometry
from bangerbuild.errors import FilesystemError
from bangerbuild.model import ReasonCode, Verb
from bangerbuild.steps.plain_disk import PlainDisk
from tests.projects import Disk
from tests.steps.guest_disks import MIB, filesystem_bytes, precious, write_precious
from tests.steps.guest_disks import label as label_of
from tests.steps.workspaces import OneStep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Step, Workspace

NAME = "vms/web/shelf.ext4"


@dataclass(frozen=True)
class Shelf(PlainDisk):
    """A disk that is made empty."""

    kind: ClassVar[str] = "shelf"
    id: ClassVar[str] = "vm.web.shelf"
    inputs: ClassVar[tuple[str, ...]] = ()

    size_bytes: int | None = 16 * MIB

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Step]:
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[str, ...]:
        return (NAME,)

    @property
    def label(self) -> str:
        return "shelf"

    def make(self, target: Path, workspace: Workspace) -> None:
        making.make_empty(target, Geometry(self.size_bytes or 0), workspace)


@pytest.fixture
def workspace(tmp_path: Path) -> OneStep:
    return OneStep(tmp_path)


@pytest.fixture
def used(workspace: OneStep) -> OneStep:
    """A disk that was made, and that a guest has written to."""
    Shelf().run(workspace)
    workspace.made.clear()
    return workspace


@pytest.mark.parametrize("verb", [Verb.CREATE, Verb.REPLACE])
def test_a_new_disk_is_a_guests_at_once_and_its_size_is_remembered(workspace: OneStep, verb: Verb) -> None:
    workspace.verb = verb
    assert Shelf().run(workspace) == {"format": "raw", "file_bytes": 16 * MIB}
    assert workspace.made == [f"{NAME} (a guest's)"]
    Disk(workspace.path(NAME)).assert_clean()


@pytest.mark.parametrize("verb", [Verb.GROW, Verb.ADOPT])
def test_an_existing_disk_is_grown_and_named_where_it_lies(used: OneStep, verb: Verb) -> None:
    before = write_precious(used.path(NAME))
    used.verb = verb
    assert Shelf(32 * MIB).run(used) == {"format": "raw", "file_bytes": 32 * MIB}
    assert used.made == []
    assert precious(used.path(NAME)) == before
    assert (label_of(used.path(NAME)), filesystem_bytes(used.path(NAME))) == ("shelf", 32 * MIB)


def test_a_disk_is_never_made_smaller(used: OneStep) -> None:
    before = used.path(NAME).read_bytes()
    used.verb = Verb.GROW
    with pytest.raises(FilesystemError):
        Shelf(8 * MIB).run(used)
    assert used.path(NAME).read_bytes() == before


def test_a_disk_of_any_size_keeps_what_it_has(used: OneStep) -> None:
    used.verb = Verb.ADOPT
    assert Shelf(None).run(used)["file_bytes"] == 16 * MIB


def test_what_keeps_a_disk_from_use_is_found_and_not_mended(used: OneStep) -> None:
    assert Shelf().inspect(used) == ()
    used.path(NAME).write_bytes(bytes(4096))
    (reason,) = Shelf().inspect(used)
    assert (reason.code, reason.facts["path"]) == (ReasonCode.ARTIFACT_MODIFIED, NAME)
    assert used.path(NAME).read_bytes() == bytes(4096)
