"""Layouts that are right, wrong, or made to mislead: the image that is meant, or one error that says why."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.formats.oci.config import ImageConfig
from bangerbuild.formats.oci.platforms import Platform
from tests.formats.oci.making import (
    INDEX,
    LAYER,
    MANIFEST,
    LayoutMaker,
    digest_of,
    layout_of,
    tarball,
)
from tests.formats.oci.reading import AMD64, refusal, resolved
from tests.formats.tarmaking import member
from tests.unprivileged import let_others_in, run_unprivileged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ARM64 = Platform("linux", "arm64")
ONE, TWO = tarball(member(b"one")), tarball(member(b"two"))
DOCKER = {
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


# which image


def test_the_only_image_needs_no_tag(tmp_path: Path) -> None:
    image = resolved(layout_of(tmp_path / "layout", ONE, TWO, tag="v1"))

    assert [layer.diff_id for layer in image.layers] == [digest_of(ONE), digest_of(TWO)]
    assert image.platform == AMD64


def test_a_tag_names_one_of_several(maker: LayoutMaker) -> None:
    first, second = maker.image(ONE), maker.image(TWO)
    maker.add(first, "a").add(second, "b")

    assert resolved(maker.path, "a").digest == first["digest"]
    assert resolved(maker.path, "b").digest == second["digest"]


def test_without_a_tag_several_are_one_too_many_and_all_are_named(maker: LayoutMaker) -> None:
    maker.add(maker.image(ONE), "b").add(maker.image(TWO), "a")

    error = refusal(maker.path)

    assert error.brief == "'oci:image' holds several images"
    assert error.hint == "name one of them: it has 'a', 'b'"


def test_an_unknown_tag_is_told_with_those_there_are(maker: LayoutMaker) -> None:
    maker.add(maker.image(ONE), "v1")

    error = refusal(maker.path, "v2")

    assert error.brief == "'oci:image' has no image with the tag 'v2'"
    assert error.hint == "it has 'v1'"


def test_a_tag_where_none_is_is_told_so(maker: LayoutMaker) -> None:
    assert refusal(maker.add(maker.image(ONE)).path, "v1").hint == "none of its images has a tag"


def test_indexes_may_lie_in_indexes(maker: LayoutMaker) -> None:
    described = maker.image(ONE)
    for _ in range(8):
        described = maker.document({"manifests": [described]}, INDEX)

    assert resolved(maker.add(described).path).layers


def test_but_not_without_end(maker: LayoutMaker) -> None:
    described = maker.image(ONE)
    for _ in range(9):
        described = maker.document({"manifests": [described]}, INDEX)

    assert "indexes that lie more than 8 deep" in refusal(maker.add(described).path).brief


def test_an_index_that_is_listed_many_times_is_read_once(maker: LayoutMaker) -> None:
    described = maker.image(ONE, platform={"os": "linux", "architecture": "amd64"})
    for depth in range(7):  # read each time, these would be 300 to the power of 7
        described = maker.document({"manifests": [described] * 300, "depth": depth}, INDEX)

    assert resolved(maker.add(described).path).layers


def test_dockers_media_types_are_read_alike(maker: LayoutMaker) -> None:
    config = maker.document(
        {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [digest_of(ONE)]}}, DOCKER["config"]
    )
    layer = maker.blob(ONE, DOCKER["layer"])
    manifest = maker.document(
        {"schemaVersion": 2, "config": config, "layers": [layer]},
        DOCKER["manifest"],
        platform={"os": "linux", "architecture": "amd64"},
    )
    maker.add(maker.document({"schemaVersion": 2, "manifests": [manifest]}, DOCKER["index"]), "v1")

    assert resolved(maker.path, "v1").layers[0].blob.digest == layer["digest"]


# what it says of its program


def test_the_configuration_is_offered(maker: LayoutMaker) -> None:
    config = {
        "Env": ["PATH=/bin", "A=b=c"],
        "WorkingDir": "/srv",
        "User": "app:1000",
        "Entrypoint": ["/bin/app"],
        "Cmd": ["--serve"],
        "Labels": {"org.example.a": "1"},
        "ExposedPorts": {"80/tcp": {}},
    }
    maker.add(maker.image(ONE, config=config))

    assert resolved(maker.path).config == ImageConfig(
        ("PATH=/bin", "A=b=c"), "/srv", "app:1000", ("/bin/app",), ("--serve",), labels={"org.example.a": "1"}
    )


def test_an_absent_or_null_configuration_says_nothing(maker: LayoutMaker) -> None:
    maker.add(maker.image(ONE, config={"Env": None, "Labels": None, "Entrypoint": None}))

    assert resolved(maker.path).config == ImageConfig()


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"Env": "PATH=/bin"}, "'config.Env' is no list"),
        ({"Env": [1]}, "'config.Env' holds what is no text"),
        ({"User": 0}, "'config.User' is no text"),
        ({"Labels": ["a"]}, "'config.Labels' is no object"),
        ({"Labels": {"a": 1}}, "'config.Labels' holds what is no text"),
    ],
)
def test_a_damaged_configuration_is_told_by_its_field(
    maker: LayoutMaker, config: dict[str, Any], what: str
) -> None:
    maker.add(maker.image(ONE, config=config))

    assert refusal(maker.path).brief == f"'oci:image: configuration' is damaged: its {what}"


# what is no image


def test_what_is_no_layout_is_told_with_what_it_may_be(tmp_path: Path) -> None:
    error = refusal(tmp_path)

    assert error.brief == "'oci:image' is no image layout: it has no 'oci-layout'"
    assert "`directory = …`" in str(error.hint)


def test_a_file_is_told_with_the_words_for_archives(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()

    error = refusal(tmp_path / "a.tar")

    assert error.brief == "'oci:image' is no directory"
    assert "oci-archive:FILE" in str(error.hint)


def test_a_layout_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no").brief == "'oci:image' is not there"


def test_a_layout_that_may_not_be_looked_into_is_told_so(tmp_path: Path) -> None:
    layout_of(tmp_path / "layout", ONE)
    let_others_in(tmp_path)
    (tmp_path / "layout/blobs").chmod(0)
    script = (
        "from tests.formats.oci.reading import *\n"
        "from bangerbuild.errors import SourceError\n"
        "from pathlib import Path\n"
        "try: resolved(Path('layout'))\n"
        "except SourceError as err: print(err.brief)"
    )
    done = run_unprivileged([sys.executable, "-c", script], cwd=tmp_path)
    assert done.stdout == "'oci:image: manifest' can't be read: permission denied\n"


def test_an_empty_layout_holds_no_image(maker: LayoutMaker) -> None:
    (maker.path / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')

    assert refusal(maker.path).brief == "'oci:image' holds no image"


def test_a_layout_without_an_index_is_half_made(maker: LayoutMaker) -> None:
    assert "it has no 'index.json'" in refusal(maker.path).brief


def test_a_layout_of_a_later_version_is_not_guessed_at(tmp_path: Path) -> None:
    path = layout_of(tmp_path / "layout", ONE)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')

    assert "'imageLayoutVersion' is '2.0.0'" in refusal(path).brief


def test_an_artifact_that_is_no_image_is_told_by_its_type(maker: LayoutMaker) -> None:
    config = maker.document({}, "application/vnd.cncf.helm.config.v1+json")
    maker.add(maker.document({"config": config, "layers": []}, MANIFEST))

    error = refusal(maker.path)

    assert error.brief == "'oci:image' is no image but holds 'application/vnd.cncf.helm.config.v1+json'"


def test_layers_of_an_unknown_kind_are_refused(maker: LayoutMaker) -> None:
    layer = maker.blob(ONE, f"{LAYER}+gzip+encrypted")
    maker.add(maker.manifest([layer], [digest_of(ONE)]))

    error = refusal(maker.path)

    assert error.brief.startswith("'oci:image: layer 1 of 1' is of a kind that is not read here")
    assert "+encrypted" in error.brief


# what lies


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ],
)
def test_a_layer_that_registries_may_not_pass_on_is_wanted_in_its_place(
    maker: LayoutMaker, media_type: str
) -> None:
    layer = maker.blob(ONE, media_type, urls=["https://example.org/layer"])
    maker.add(maker.manifest([layer], [digest_of(ONE)]))
    assert resolved(maker.path).layers
    maker.at(digest_of(ONE)).unlink()

    error = refusal(maker.path)

    assert "registries may not pass it on" in error.brief
    assert f"'blobs/sha256/{digest_of(ONE).removeprefix('sha256:')}'" in str(error.hint)


def test_an_index_json_that_is_too_large_is_not_read_whole(maker: LayoutMaker) -> None:
    (maker.path / "index.json").write_bytes(b" " * (5 << 20))

    assert "has more than 4 MiB" in refusal(maker.path).brief


def test_a_document_that_is_index_and_manifest_at_once_is_refused(maker: LayoutMaker) -> None:
    image = maker.image(ONE)
    both = json.loads(maker.at(image["digest"]).read_text()) | {"manifests": [image]}

    for media_type in (MANIFEST, INDEX):
        maker.entries.clear()
        maker.add(maker.document(both, media_type))
        assert "an index and a manifest at once" in refusal(maker.path).brief


def test_layers_without_their_diff_ids_are_refused(maker: LayoutMaker) -> None:
    maker.add(maker.manifest([maker.blob(ONE, LAYER)], []))

    assert "its 'layers' are 1, and its configuration has 0" in refusal(maker.path).brief


DAMAGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "'config.digest' is none that can be compared: ''": lambda m: m["config"].pop("digest"),
    "none that can be compared: '../../x'": lambda m: m["config"].update(digest="../../x"),
    "none that can be compared: 'sha256:..": lambda m: m["config"].update(
        digest="sha256:" + "../" * 20 + "etc"
    ),
    "none that can be compared: 'md5:": lambda m: m["config"].update(digest="md5:" + "0" * 32),
    "none that can be compared: 'sha256:0A": lambda m: m["config"].update(digest="sha256:" + "0A" * 32),
    "'config.digest' is no text": lambda m: m["config"].update(digest=5),
    "'config.size' is no size": lambda m: m["config"].update(size=-1),
    "'config.size' is no number": lambda m: m["config"].update(size="7"),
    "'config' is no object": lambda m: m.update(config="x"),
    "'layers' is no list": lambda m: m.update(layers={}),
    "'layers' holds what is no object": lambda m: m.update(layers=[1]),
    "'layers[0].size' is no size": lambda m: m["layers"][0].update(size=True),
    "'layers[0].digest' is none": lambda m: m["layers"][0].pop("digest"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_manifest_is_told_by_its_field(maker: LayoutMaker, what: str) -> None:
    image = maker.image(ONE, platform={"os": "linux", "architecture": "amd64"})
    fields = json.loads(maker.at(image["digest"]).read_text())
    DAMAGED[what](fields)
    platform = {"os": "linux", "architecture": "amd64"}
    maker.add(maker.document(fields, MANIFEST, platform=platform))

    error = refusal(maker.path)

    assert error.brief.startswith("'oci:image: manifest' is damaged: its ")
    assert what in error.brief


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"manifests": ' + b"9" * 9999 + b"}", "is no JSON"),
        (b"[]", "is no JSON object"),
        (b'{"manifests": 1}', "its 'manifests' is no list"),
        (b'{"manifests": [{"annotations": {"org.opencontainers.image.ref.name": 1}}]}', "is no text"),
    ],
    ids=range(8),
)
def test_an_index_that_is_none_is_one_plain_error(maker: LayoutMaker, content: bytes, what: str) -> None:
    (maker.path / "index.json").write_bytes(content)

    error = refusal(maker.path)

    assert error.brief.startswith("'oci:image: index.json' is damaged: ")
    assert what in error.brief
