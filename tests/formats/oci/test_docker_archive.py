"""Archives of docker save: the same trees as of layouts, whatever Docker wrote them."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from tests.formats.oci.archives import (
    COMPRESSORS,
    LOWER,
    UPPER,
    config_of,
    docker_archive,
    item,
    legacy,
    listing,
    packed,
    packed_files,
    refusal,
)
from tests.formats.oci.making import (
    digest_of,
    layout_of,
)
from tests.formats.oci.reading import archived, streamed
from tests.formats.tarmaking import member

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
HEX_LOWER = digest_of(LOWER).removeprefix("sha256:")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An image of two layers."""
    return layout_of(tmp_path / "layout", LOWER, UPPER, tag="v1")


def modern(*layers: bytes, compress: Callable[[bytes], bytes] = bytes) -> list[bytes]:
    """As Docker writes them since version 25, with compressed layers where containerd keeps them."""
    blobs = [compress(layer) for layer in layers]
    config = config_of([digest_of(layer) for layer in layers])
    names = ["blobs/" + digest_of(blob).replace(":", "/") for blob in (config, *blobs)]
    members = [member(name.encode(), blob) for name, blob in zip(names, (config, *blobs), strict=True)]
    return [*members, listing(item(*names, tags=["app:1"]))]


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_dockers_archives_of_all_times_are_the_same_tree(
    layout: Path, tmp_path: Path, compression: str
) -> None:
    wanted = streamed(layout, "v1")
    path = tmp_path / "image.tar"
    for members in (legacy(LOWER, UPPER), modern(LOWER, UPPER), modern(LOWER, UPPER, compress=gzip.compress)):
        packed(path, *members)
        path.write_bytes(COMPRESSORS[compression](path.read_bytes()))
        assert archived(docker_archive(path)) == wanted


def test_a_layer_that_comes_twice_is_read_where_it_lies_once(tmp_path: Path) -> None:
    wanted = streamed(layout_of(tmp_path / "layout", LOWER, UPPER, LOWER))
    path = packed(tmp_path / "image.tar", *legacy(LOWER, UPPER, LOWER))
    assert archived(docker_archive(path)) == wanted


@pytest.mark.parametrize("tag", ["app:1", "app", "docker.io/library/app:2", "@1", "@01", "@0"])
def test_an_image_is_named_as_docker_names_it_or_by_its_place(tmp_path: Path, tag: str) -> None:
    configs = [config_of([digest_of(layer)]) for layer in (LOWER, UPPER)]
    path = packed(
        tmp_path / "image.tar",
        member(b"lower.json", configs[0]),
        member(b"upper.json", configs[1]),
        member(b"lower.tar", LOWER),
        member(b"upper.tar", UPPER),
        listing(
            item("lower.json", "lower.tar", tags=["Not A Name", "app:1", "app:latest"]),
            item("upper.json", "upper.tar", tags=["docker.io/library/app:2"]),
        ),
    )
    wanted = {"app:1": LOWER, "app": LOWER, "@0": LOWER}.get(tag, UPPER)
    assert archived(docker_archive(path, tag)) == streamed(layout_of(tmp_path / "layout", wanted))


def test_without_a_name_several_are_one_too_many_and_all_are_named(tmp_path: Path) -> None:
    path = packed(
        tmp_path / "image.tar", listing(item("a", tags=["app:1", "app:2"]), item("b"), item("c", tags=[]))
    )
    for tag, brief, hint in (
        (None, "holds several images", "name one of them: it has 'app:1', '@1', '@2'"),
        ("app:3", "has no image 'app:3'", "it has 'app:1', '@1', '@2'"),
        ("@3", "has no image '@3'", "it has 'app:1', '@1', '@2'"),
        ("@" + "9" * 9999, "has no image '@999", "it has 'app:1', '@1', '@2'"),
    ):
        error = refusal(docker_archive(path, tag))
        assert f"' {brief}" in error.brief
        assert error.hint == hint


def test_an_archive_without_an_image_is_told_so(tmp_path: Path) -> None:
    path = packed(tmp_path / "image.tar", listing())
    assert refusal(docker_archive(path)).brief == "'docker-archive:image.tar' holds no image"


def test_an_image_for_another_platform_is_told_with_its_own(tmp_path: Path) -> None:
    config = config_of([digest_of(LOWER)], architecture="arm64")
    members = (member(b"config.json", config), member(b"layer.tar", LOWER))
    path = packed(tmp_path / "image.tar", *members, listing(item("config.json", "layer.tar")))

    error = refusal(docker_archive(path))
    assert error.brief == "'docker-archive:image.tar' has no image for 'linux/amd64'"
    assert "'linux/arm64'" in str(error.hint)
    assert archived(docker_archive(path, platform="linux/arm64"))


CONFIG = config_of([digest_of(LOWER), digest_of(UPPER)])
RIGHT = item("config.json", "lower.tar", "upper.tar")
MEMBERS = {b"config.json": CONFIG, b"lower.tar": LOWER, b"upper.tar": UPPER}


@pytest.mark.parametrize(
    ("files", "listed", "brief"),
    [
        ({b"lower.tar": UPPER}, [RIGHT], ": layer 1 of 2' is not what it must be: its digest is"),
        ({b"lower.tar": gzip.compress(UPPER)}, [RIGHT], ": layer 1 of 2' unpacks to what has the digest"),
        ({}, [item("config.json", "no.tar", "upper.tar")], ": layer 1 of 2' is not there: "),
        ({}, [item("no.json", "lower.tar", "upper.tar")], ": configuration' is not there: "),
        ({}, [item("", "lower.tar")], ": manifest.json' is damaged: its '[0].Config' is missing"),
        ({}, [item("config.json", "lower.tar")], "its '[0].Layers' are 1, and its configuration has 2"),
        ({}, [item("config.json", "../x", "y")], ": layer 1 of 2': '../x' leads out of the tree with '..'"),
        ({}, [item("config.json", "\ud800", "y")], "manifest.json' is damaged: it is no JSON"),
        ({}, [item("config.json", "a\0b", "y")], "'a\\x00b' has a NUL byte in its name"),
        ({}, [{"Config": 1, "Layers": []}], "its '[0].Config' is no text"),
        ({}, ["app"], ": manifest.json' is damaged: it is no JSON list of objects"),
        ({b"config.json": b"{"}, [RIGHT], ": configuration' is damaged: it is no JSON"),
        ({b"config.json": b"{}"}, [RIGHT], "its '[0].Layers' are 2, and its configuration has 0"),
        ({b"config.json": b" " * (4 * MIB + 1)}, [RIGHT], ": configuration' has more than 4 MiB"),
        ({f"{HEX_LOWER}.json".encode(): CONFIG}, [item(f"{HEX_LOWER}.json")], ", and its name "),
        ({f"sha256:{HEX_LOWER}".encode(): CONFIG}, [item(f"sha256:{HEX_LOWER}")], ", and its name "),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_damaged_archive_of_dockers_is_told_by_what_is_wrong(
    tmp_path: Path,
    files: dict[bytes, bytes],
    listed: list[object],
    brief: str,
    compress: Callable[[bytes], bytes],
) -> None:
    path = packed_files(tmp_path / "image.tar", MEMBERS | files, listing(*listed))
    path.write_bytes(compress(path.read_bytes()))
    if compress is not bytes:  # the digest is known by then, and so what is said is said of the content
        brief = brief.replace("is not what it must be: its digest is", "unpacks to what has the digest")
    assert brief in refusal(docker_archive(path)).brief


def test_a_list_of_images_is_a_list(tmp_path: Path) -> None:
    path = packed_files(tmp_path / "image.tar", {b"manifest.json": json.dumps(RIGHT).encode()})
    assert refusal(docker_archive(path)).brief.endswith("it is no JSON list of objects")
