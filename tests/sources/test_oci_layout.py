"""Container images in layouts: what a tag stands for is looked up in every run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.model import Verb
from tests.formats.oci.making import layout_of
from tests.projects import codes
from tests.sources.building import ID, LOWER, assert_merged, built, locked, oci

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project


def first_layer(layout: Path) -> Path:
    """The file of the lowest layer of a layout's only image."""
    blobs = layout / "blobs/sha256"
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads((blobs / entry["digest"].removeprefix("sha256:")).read_bytes())
    return blobs / str(manifest["layers"][0]["digest"]).removeprefix("sha256:")


def test_a_layout_becomes_an_image_of_its_merged_layers(project: Project) -> None:
    oci(project.directory)
    assert_merged(built(project, '[image.debian.rootfs]\noci = "oci:layout:v1"\n'))
    assert locked(project).entries == {}


def test_another_tag_in_a_layout_changes_nothing_and_a_moved_one_makes_a_new_image(project: Project) -> None:
    layout = oci(project.directory)
    text = '[image.debian.rootfs]\noci = "oci:layout:v1"\n'
    first = built(project, text).path
    index = json.loads((layout / "index.json").read_text())
    entry = index["manifests"][0]
    index["manifests"].append({**entry, "annotations": {"org.opencontainers.image.ref.name": "v2"}})
    (layout / "index.json").write_text(json.dumps(index))
    assert project.plan()[ID].verb is Verb.KEEP
    layout.rename(project.directory / "old")
    layout_of(project.directory / "layout", LOWER, tag="v1")
    action = project.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.CREATE, ["source-changed"])
    assert built(project, text).path != first


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
