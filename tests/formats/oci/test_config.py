"""The configuration of an image, as umoci writes it and as it may be missing."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.config import ImageConfig, parse_configuration, platform_of
from bangerbuild.formats.oci.documents import Document, parse_document
from bangerbuild.formats.oci.platforms import Platform
from tests.formats.oci.making import digest_of
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


def test_what_umoci_sets_is_read(tmp_path: Path) -> None:
    umoci = need("umoci")
    layout = tmp_path / "layout"
    options = [
        "--config.env=A=b=c",
        "--config.workingdir=/srv",
        "--config.user=1000:100",
        "--config.cmd=serve",
    ]
    options += ["--config.entrypoint=/bin/app", "--config.label=k=v", "--os=linux", "--architecture=arm64"]
    for command in (
        ["init", "--layout", layout],
        ["new", "--image", f"{layout}:v1"],
        ["config", "--image", f"{layout}:v1", *options],
    ):
        subprocess.run([umoci, *command], check=True, capture_output=True)
    blobs = layout / "blobs/sha256"
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_bytes())
    found = parse_configuration(
        parse_document((blobs / manifest["config"]["digest"][7:]).read_bytes(), "configuration")
    )
    assert found.config == ImageConfig(
        env=("A=b=c",),
        working_dir="/srv",
        user="1000:100",
        entrypoint=("/bin/app",),
        cmd=("serve",),
        labels={"k": "v"},
    )
    assert found.platform == Platform("linux", "arm64", "")
    assert found.diff_ids == ()


def test_a_configuration_may_say_nothing() -> None:
    found = parse_configuration(Document({}, "x"))
    assert (found.config, found.platform, found.diff_ids) == (ImageConfig(), None, ())


@pytest.mark.parametrize(
    ("fields", "platform"),
    [
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, Platform("linux", "arm", "v7")),
        ({"os": "linux"}, None),
        ({"architecture": "amd64"}, None),
    ],
)
def test_a_platform_is_system_and_architecture(fields: dict[str, Any], platform: Platform | None) -> None:
    assert platform_of(Document(fields, "x")) == platform


def test_the_layers_contents_are_digests() -> None:
    good = digest_of(b"layer")
    assert parse_configuration(Document({"rootfs": {"diff_ids": [good]}}, "x")).diff_ids == (good,)
    for wrong in ("sha1:1", "", f"{good}0"):
        with pytest.raises(SourceError, match=f"its 'rootfs.diff_ids' holds what is no digest: '{wrong}'"):
            parse_configuration(Document({"rootfs": {"diff_ids": [good, wrong]}}, "x"))
