"""Container images in layouts: what a tag stands for is asked once, and the lock file has it from then on."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.platforms import host_platform
from bangerbuild.model import Outcome, Pin, ReasonCode, Verb
from bangerbuild.resolving.lockfile import LockEntry
from tests.formats.oci.making import layout_of
from tests.projects import codes
from tests.sources.building import ID, LOWER, assert_merged, built, locked, oci

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project


TEXT = '[image.debian.rootfs]\noci = "oci:layout:v1"\n'


def first_layer(layout: Path) -> Path:
    """The file of the lowest layer of a layout's only image."""
    blobs = layout / "blobs/sha256"
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads((blobs / entry["digest"].removeprefix("sha256:")).read_bytes())
    return blobs / str(manifest["layers"][0]["digest"]).removeprefix("sha256:")


def moved(layout: Path) -> str:
    """Have the tag stand for another image, the blobs of the old one kept; the old one's digest."""
    index = json.loads((layout / "index.json").read_bytes())
    kept = layout.rename(layout.with_name("kept"))
    layout_of(layout, LOWER, tag="v1")
    shutil.copytree(kept / "blobs", layout / "blobs", dirs_exist_ok=True)
    return str(index["manifests"][0]["digest"]).removeprefix("sha256:")


def test_a_layout_becomes_an_image_of_its_merged_layers_and_its_tag_is_pinned(project: Project) -> None:
    layout = oci(project.directory)
    assert_merged(built(project, TEXT))
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    words = {"oci": "oci:layout:v1"}
    pin = Pin(entry["digest"].removeprefix("sha256:"), str(host_platform()))
    assert locked(project).entries == {ID: LockEntry.of(words, pin)}


def test_another_tag_in_a_layout_changes_nothing(project: Project) -> None:
    layout = oci(project.directory)
    built(project, TEXT)
    index = json.loads((layout / "index.json").read_text())
    entry = index["manifests"][0]
    index["manifests"].append({**entry, "annotations": {"org.opencontainers.image.ref.name": "v2"}})
    (layout / "index.json").write_text(json.dumps(index))
    assert project.plan()[ID].verb is Verb.KEEP


def test_what_the_lock_file_has_is_built_although_the_tag_has_moved(project: Project) -> None:
    layout = oci(project.directory)
    first = built(project, TEXT).path
    old = moved(layout)
    assert project.plan()[ID].verb is Verb.KEEP
    shutil.rmtree(project.directory / "build")
    again = built(project, TEXT)
    assert_merged(again)
    assert (again.path, locked(project).entries[ID].pin.digest) == (first, old)


def test_an_upgrade_takes_what_the_tag_stands_for_by_then(project: Project) -> None:
    layout = oci(project.directory)
    first = built(project, TEXT).path
    moved(layout)
    pipeline.lock(pipeline.load_request(project.request()), "debian")
    action = project.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.CREATE, ["source-changed"])
    image = built(project, TEXT)
    assert image.path != first
    assert image.text("/etc/old") == "old"


def test_a_layout_that_lost_what_is_locked_blocks_the_plan_with_one_plain_reason(project: Project) -> None:
    layout = oci(project.directory)
    built(project, TEXT)
    old = moved(layout)
    (layout / "blobs/sha256" / old).unlink()
    shutil.rmtree(project.directory / "build")
    action = project.plan()[ID]
    missing, lost = action.reasons
    assert (action.verb, missing.code, lost.code) == (Verb.BLOCKED, ReasonCode.MISSING, ReasonCode.WOULD_FAIL)
    said = f"'oci:layout:v1' no longer holds the image that it is pinned to: 'sha256:{old}'"
    assert lost.facts["message"] == said
    assert str(lost.facts["hint"]).endswith("bangerbuild lock --upgrade")
    assert project.apply()[ID].outcome is Outcome.SKIPPED


def test_the_same_layout_elsewhere_gives_the_same_fingerprint(project: Project) -> None:
    oci(project.directory)
    first = built(project, '[image.debian.rootfs]\noci = "oci:layout:v1"\n').path
    (project.directory / "layout").rename(project.directory / "moved")
    assert built(project, '[image.debian.rootfs]\noci = "oci:moved"\n').path == first


def test_a_layout_without_the_tag_is_one_plain_error(project: Project) -> None:
    oci(project.directory)
    project.write('[image.debian.rootfs]\noci = "oci:layout:v2"\n')
    with pytest.raises(SourceError, match="has no image with the tag 'v2'") as caught:
        project.plan()
    assert caught.value.hint == "it has 'v1'"


def test_a_damaged_layer_fails_the_step_by_name(project: Project) -> None:
    layout = oci(project.directory)
    layer = first_layer(layout)
    data = bytearray(layer.read_bytes())
    data[-1] ^= 1
    layer.write_bytes(data)
    project.write('[image.debian.rootfs]\noci = "oci:layout:v1"\n')
    error = project.error(ID)
    assert error.brief.startswith("'oci:layout:v1: layer 1 of 2' is not what it must be: its digest is ")
