"""Container images: documents of any shape, and the script that starts the program."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import example, given

from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci.config import parse_configuration
from bangerbuild.formats.oci.documents import parse_document
from bangerbuild.formats.oci.layers import open_layers
from bangerbuild.formats.oci.layout import resolve
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.formats.oci.platforms import Platform
from bangerbuild.sources.entrypoint import entrypoint
from tests.formats.oci.making import LayoutMaker, digest_of, tarball
from tests.formats.tarmaking import member
from tests.fuzz.frame import damaged, damaged_json, few, within_limits
from tests.sources.roots import MadeUpRoot

if TYPE_CHECKING:
    from tests.fuzz.frame import Place

LAYER = tarball(member(b"bin/sh", b"sh"), member(b"etc/passwd", b"app:x:1:1::/:/bin/sh\n"))
CONFIG: dict[str, Any] = {
    "os": "linux",
    "architecture": "amd64",
    "variant": "v1",
    "rootfs": {"type": "layers", "diff_ids": [digest_of(LAYER)]},
    "config": {
        "Env": ["PATH=/bin", "A=b"],
        "Cmd": ["-c", "true"],
        "Entrypoint": ["/bin/sh"],
        "User": "app:1",
        "WorkingDir": "/srv",
        "Volumes": {"/data": {}},
        "StopSignal": "SIGINT",
        "Labels": {"a": "b"},
    },
}
AMD64 = Platform("linux", "amd64")
ROOT = MadeUpRoot(
    *(f"/bin/{name}" for name in ("sh", "env", "mount", "mkdir", "ln", "chown", "sleep", "sync", "chroot")),
    files={"/etc/passwd": b"app:x:1:1::/:/bin/sh\n", "/etc/group": b"app:x:1:\n"},
)


def with_setting(**more: object) -> dict[str, Any]:
    return {**CONFIG, "config": {**CONFIG["config"], **more}}


@few(200)
@given(document=damaged_json([CONFIG]))
@example(document=with_setting(Cmd=["\ud800"]))
@example(document=with_setting(Env=["A=\udfff", "\0=1"]))
@example(document=with_setting(User="+-5", WorkingDir="\0"))
@example(document=with_setting(Volumes={"\0": {}, "../..": {}}))
@example(document={**CONFIG, "rootfs": {"diff_ids": [""]}})
@example(document={**CONFIG, "variant": "v" + "9" * 5000})
def test_a_configuration_of_other_values(document: Any) -> None:  # noqa: ANN401
    with within_limits():
        found = parse_configuration(parse_document(json.dumps(document).encode(), "config"))
        if found.platform:
            found.platform.rank(AMD64)
        edits = entrypoint("/init", found.config, ROOT, "image")
        repr(edits).encode()


def layout(place: Place) -> LayoutMaker:
    place.clear()
    maker = LayoutMaker(place.inside / "layout")
    maker.add(maker.image(LAYER, config=CONFIG["config"]), "1")
    return maker


def read(place: Place) -> None:
    found = DirectoryLayout(place.inside / "layout")
    image = resolve(found, None, AMD64, written="image")
    with open_layers(found, image, written="image", limits=UnpackLimits(16 << 20)) as entries:
        for entry in entries:
            while entry.content is not None and entry.content.read(1 << 20):
                pass


INDEX = {
    "schemaVersion": 2,
    "manifests": [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest_of(b""),
            "size": 2,
            "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
            "annotations": {"org.opencontainers.image.ref.name": "1"},
        }
    ],
}


@few(120)
@given(document=damaged_json([INDEX]))
def test_an_index_of_other_values(place: Place, document: Any) -> None:  # noqa: ANN401
    layout(place)
    (place.inside / "layout/index.json").write_text(json.dumps(document))
    with within_limits():
        read(place)
    place.assert_nothing_else_was_touched()


@few(120)
@given(data=damaged_json([{"size": 5, "layers": [INDEX["manifests"]], "config": CONFIG}]))
def test_a_manifest_of_other_values(place: Place, data: Any) -> None:  # noqa: ANN401
    maker = layout(place)
    good = json.loads((place.inside / "layout/index.json").read_text())["manifests"][0]
    manifest = json.loads(maker.at(good["digest"]).read_text())
    changed = data if not isinstance(data, dict) else manifest | data
    (place.inside / "layout/index.json").write_text(
        json.dumps({"manifests": [maker.document(changed, good["mediaType"])]})
    )
    with within_limits():
        read(place)
    place.assert_nothing_else_was_touched()


@few(60)
@given(data=damaged([LAYER]))
def test_a_layer_of_other_bytes(place: Place, data: bytes) -> None:
    place.clear()
    maker = LayoutMaker(place.inside / "layout")
    maker.add(maker.image(data, config=CONFIG["config"]), "1")
    with within_limits():
        read(place)
    place.assert_nothing_else_was_touched()


def test_the_specimens_are_read(place: Place) -> None:
    layout(place)
    read(place)
    found = parse_configuration(parse_document(json.dumps(CONFIG).encode(), "config"))
    assert entrypoint("/init", found.config, ROOT, "image").changes
