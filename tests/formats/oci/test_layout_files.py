"""Images in archives, read where they lie: the same trees as of layouts, and one error for what is wrong."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.oci.layers import merge_layers
from tests import PROJECT
from tests.fetch.memory import PRINT_PEAK_KIB
from tests.formats.oci.archives import (
    COMPRESSORS,
    LOWER,
    UPPER,
    docker_archive,
    folder,
    image_members,
    legacy,
    listing,
    members_of,
    oci_archive,
    packed,
    packed_files,
    refusal,
)
from tests.formats.oci.making import (
    LAYER,
    LayoutMaker,
    digest_of,
    hard_link,
    layout_of,
    symlink,
    tarball,
)
from tests.formats.oci.reading import archived, streamed
from tests.formats.tarmaking import END, gnu_tar, header, member, pax
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


MIB = 1 << 20


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An image of two layers."""
    return layout_of(tmp_path / "layout", LOWER, UPPER, tag="v1")


def by_skopeo(source: str, target: str) -> None:
    subprocess.run([need("skopeo"), "copy", source, target], check=True, capture_output=True)


# what other tools make


def test_what_skopeo_makes_of_a_layout_is_the_same_tree(layout: Path, tmp_path: Path) -> None:
    oci, docker = tmp_path / "oci.tar", tmp_path / "docker.tar"
    by_skopeo(f"oci:{layout}:v1", f"oci-archive:{oci}:v1")
    by_skopeo(f"oci:{layout}:v1", f"docker-archive:{docker}:app:v1")

    wanted = streamed(layout, "v1")
    for tag in (None, "v1"):
        assert archived(oci_archive(oci, tag)) == wanted
    for tag in (None, "app:v1", "docker.io/library/app:v1", "@0"):
        assert archived(docker_archive(docker, tag)) == wanted


def test_a_layout_that_gnu_tar_packs_is_one(layout: Path, tmp_path: Path) -> None:
    for options in ((), ("--format=posix",), ("--format=v7",)):
        archive = gnu_tar(layout, tmp_path / "image.tar", *options)
        assert archived(oci_archive(archive)) == streamed(layout, "v1")


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_an_archive_may_be_compressed(layout: Path, tmp_path: Path, compression: str) -> None:
    files = members_of(layout)
    backwards = dict(reversed(files.items()))
    for order in (files, backwards):
        path = packed_files(tmp_path / "image.tar", order)
        path.write_bytes(COMPRESSORS[compression](path.read_bytes()))
        assert archived(oci_archive(path)) == streamed(layout, "v1")


# archives of layouts


def test_names_may_begin_as_tar_writes_them_and_other_members_do_not_matter(tmp_path: Path) -> None:
    files = image_members(tmp_path / "layout", LOWER, UPPER)
    path = packed(
        tmp_path / "image.tar",
        folder(b"./"),
        header(b"pipe", kind=b"6"),
        symlink(b"out", b"../../etc/passwd"),
        symlink(b"round", b"round"),
        *(member(b"./" + name, data) for name, data in files.items()),
        member(b"README", b"hello"),
    )
    assert archived(oci_archive(path)) == streamed(tmp_path / "layout")


def test_of_a_member_that_comes_twice_the_last_one_counts(tmp_path: Path) -> None:
    files = image_members(tmp_path / "layout", LOWER)
    path = packed(
        tmp_path / "image.tar",
        member(b"index.json", b"{}"),
        *(member(name, data) for name, data in files.items()),
    )
    assert archived(oci_archive(path)) == streamed(tmp_path / "layout")


def test_a_blob_may_be_a_link_to_another_member(tmp_path: Path) -> None:
    files = image_members(tmp_path / "layout", LOWER)
    blob, *_ = (name for name in files if name.startswith(b"blobs/"))
    data = files.pop(blob)
    for link in (hard_link(blob, b"real/blob"), symlink(blob, b"../../real/blob")):
        path = packed_files(tmp_path / "image.tar", files, member(b"real/blob", data), link)
        assert archived(oci_archive(path)) == streamed(tmp_path / "layout")


@pytest.mark.parametrize(
    ("link", "brief"),
    [
        (symlink(b"index.json", b"index.json"), "'index.json' is a link that leads in a circle"),
        (hard_link(b"index.json", b"index.json"), "'index.json' is a link that leads in a circle"),
        (symlink(b"index.json", b"../index.json"), "'index.json' is a link that leads out of the archive"),
        (symlink(b"index.json", b"/etc/passwd"), "'index.json' is a link that leads out of the archive"),
        (folder(b"index.json/"), "'index.json' is a directory"),
        (header(b"index.json", kind=b"3"), "'index.json' is a device"),
    ],
)
def test_what_is_no_file_is_told_with_its_name(tmp_path: Path, link: bytes, brief: str) -> None:
    files = image_members(tmp_path / "layout", LOWER)
    error = refusal(oci_archive(packed_files(tmp_path / "image.tar", files, link)))
    assert error.brief == f"'oci-archive:image.tar: index.json': {brief}"


def test_a_link_to_nothing_is_as_good_as_none(tmp_path: Path) -> None:
    files = image_members(tmp_path / "layout", LOWER)
    path = packed_files(tmp_path / "image.tar", files, symlink(b"index.json", b"no/such"))
    error = refusal(oci_archive(path))
    assert error.brief == "'oci-archive:image.tar' is no image layout: it has no 'index.json'"
    assert error.hint == "the image is damaged: fetch or copy it again"


@pytest.mark.parametrize(
    ("odd", "brief"),
    [
        (member(b"../x", b"x"), "'../x' leads out of the tree with '..'"),
        (member(b"a/../../x", b"x"), "'a/../../x' leads out of the tree with '..'"),
        (hard_link(b"x", b"../y"), "'x' leads out of the tree with '..'"),
        (header(b"x", kind=b"Z"), "'x' is of a type that no archive of images has: 'Z'"),
        (header(b"x", kind=b"S"), "'x' is stored with holes, and can't be read where it lies"),
        (
            pax([(b"GNU.sparse.major", b"1")]) + member(b"x", b"x"),
            "'x' is stored with holes, and can't be read where it lies",
        ),
        (header(b"x", size=b"\xff" * 12), "'x' has a damaged size: -1"),
    ],
)
def test_an_archive_with_a_member_that_can_not_be_is_refused_by_its_name(
    tmp_path: Path, odd: bytes, brief: str
) -> None:
    files = image_members(tmp_path / "layout", LOWER)
    error = refusal(oci_archive(packed_files(tmp_path / "image.tar", files, odd)))
    assert error.brief == f"'oci-archive:image.tar': {brief}"


def test_a_name_that_leads_out_can_not_be_reached(tmp_path: Path) -> None:
    """An absolute one is taken as tar takes it, from the archive's top."""
    files = image_members(tmp_path / "layout", LOWER)
    path = packed_files(tmp_path / "image.tar", {b"/" + name: data for name, data in files.items()})
    assert archived(oci_archive(path)) == streamed(tmp_path / "layout")


def test_a_blob_that_lacks_or_differs_is_told_before_anything_is_taken(tmp_path: Path) -> None:
    layer = gzip.compress(LOWER)
    name = b"blobs/sha256/" + digest_of(layer).removeprefix("sha256:").encode()
    maker = LayoutMaker(tmp_path / "layout")
    maker.add(maker.manifest([maker.blob(layer, LAYER)], [digest_of(LOWER)]))
    files = members_of(maker.path)
    damaged = bytearray(layer)
    damaged[-1] ^= 1
    briefs: dict[str, set[str]] = {}
    for word, data in (("lacks", None), ("shorter", layer[:-1]), ("flipped", bytes(damaged))):
        changed = {**files, name: data} if data is not None else {n: d for n, d in files.items() if n != name}
        for compress in (bytes, gzip.compress):
            path = packed_files(tmp_path / "image.tar", changed)
            path.write_bytes(compress(path.read_bytes()))
            briefs.setdefault(word, set()).add(refusal(oci_archive(path)).brief)
    start = "'oci-archive:image.tar: layer 1 of 1' is not "
    assert briefs == {
        "lacks": {f"{start}there: the layout has no blob '{digest_of(layer)}'"},
        "shorter": {f"{start}what it must be: it has {len(layer) - 1} bytes, not {len(layer)}"},
        "flipped": {
            f"{start}what it must be: its digest is '{digest_of(bytes(damaged))}', not '{digest_of(layer)}'"
        },
    }


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_an_archive_cut_anywhere_is_told_so(tmp_path: Path, compression: str) -> None:
    path = packed_files(tmp_path / "image.tar", image_members(tmp_path / "layout", LOWER, UPPER))
    whole = path.read_bytes()
    for length in (1, 300, 512, 700, len(whole) // 2, len(whole) - 1024, len(whole) - 5000):
        path.write_bytes(COMPRESSORS[compression](whole[:length]))
        assert "image.tar" in refusal(oci_archive(path)).brief
    packed_bytes = COMPRESSORS[compression](whole)
    if compression != "gzip in parts":
        path.write_bytes(packed_bytes[: len(packed_bytes) // 2])
        assert refusal(oci_archive(path)).brief.startswith("'oci-archive:image.tar' ends ")


def test_a_size_beyond_the_end_is_a_cut(tmp_path: Path) -> None:
    files = image_members(tmp_path / "layout", LOWER)
    path = packed_files(tmp_path / "image.tar", files, header(b"big", size=1 << 32))
    assert refusal(oci_archive(path)).brief == "'oci-archive:image.tar' ends in the middle of 'big'"


def test_what_is_no_archive_of_images_is_told_with_what_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    for source in (oci_archive(path), docker_archive(path)):
        name = f"'{source.transport}:image.tar'"
        assert refusal(source).brief == f"{name} is not there"
        path.write_bytes(b"no archive" * 100)
        assert refusal(source).brief == f"{name} is no tarball"
        path.write_bytes(b"")
        assert refusal(source).brief == f"{name} is empty"
        path.unlink()
        path.mkdir()
        assert refusal(source).hint == "a layout that is a directory is named with 'oci:DIRECTORY'"
        path.rmdir()
        packed_files(path, {b"etc/passwd": b""})
        assert "`tar = …`" in str(refusal(source).hint)
        path.unlink()


def test_the_one_kind_is_told_from_the_other(tmp_path: Path) -> None:
    oci = packed_files(tmp_path / "oci.tar", image_members(tmp_path / "layout", LOWER))
    docker = packed(tmp_path / "docker.tar", listing())
    old = packed(tmp_path / "old.tar", member(b"repositories", b"{}"))

    assert "'oci-archive:FILE'" in str(refusal(docker_archive(oci)).hint)
    assert "'docker-archive:FILE'" in str(refusal(oci_archive(docker)).hint)
    assert "before 1.10" in str(refusal(docker_archive(old)).hint)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_documents_have_a_largest_size(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    for name in ("index.json", "oci-layout"):
        files = image_members(tmp_path / name, LOWER) | {name.encode(): b" " * (4 * MIB + 1)}
        path = packed_files(tmp_path / "image.tar", files)
        path.write_bytes(compress(path.read_bytes()))
        assert refusal(oci_archive(path)).brief.endswith(f"{name}' has more than 4 MiB")
    path = packed_files(tmp_path / "image.tar", {b"manifest.json": b" " * (4 * MIB + 1)})
    assert refusal(docker_archive(path)).brief.endswith("manifest.json' has more than 4 MiB")


def test_a_tarball_of_a_whole_tree_is_not_indexed_without_end(tmp_path: Path) -> None:
    path = packed(tmp_path / "image.tar", *(header(b"usr/lib/%060d" % n) for n in range(90_000)))
    assert refusal(oci_archive(path)).brief == (
        "'oci-archive:image.tar' has too many entries for an archive of images"
    )


def test_an_archive_that_changes_while_it_is_read_is_noticed(layout: Path, tmp_path: Path) -> None:
    for compress in (bytes, gzip.compress):
        path = packed_files(tmp_path / "image.tar", members_of(layout))
        path.write_bytes(compress(path.read_bytes()))
        with oci_archive(path).image() as (found, image):
            merged = merge_layers(found, image, written="it")
            with path.open("r+b") as file:
                file.truncate(1024)
            with pytest.raises(SourceError, match=r"'oci-archive:image.tar' changed while it was read"):
                list(merged.entries())


# bombs


def test_a_compressed_archive_may_not_unpack_to_whatever_it_likes(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header(b"zeros", size=200 * MIB))
        for _ in range(200):
            file.write(bytes(MIB))
        file.write(END)
    error = refusal(oci_archive(path, max_size_bytes=100 * MIB))
    assert error.brief.endswith("unpacks to more than 100 MiB")
    assert "`max_size`" in str(error.hint)


@pytest.mark.parametrize(
    ("compress", "is_taken"), [(bytes, True), (gzip.compress, False)], ids=["plain", "compressed twice"]
)
def test_what_layers_may_unpack_to_goes_by_what_lies_on_the_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compress: Callable[[bytes], bytes],
    is_taken: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    monkeypatch.setattr("bangerbuild.formats.limits.FREE_BYTES", 0)
    zeros = tarball(member(b"zeros", bytes(16 * MIB)))
    maker = LayoutMaker(tmp_path / "layout")
    layer = maker.blob(gzip.compress(zeros), LAYER)
    maker.add(maker.manifest([layer], [digest_of(zeros)]))
    path = packed_files(tmp_path / "image.tar", members_of(maker.path))
    path.write_bytes(compress(path.read_bytes()))
    limits = UnpackLimits(ratio=2 * len(zeros) // layer["size"])

    with oci_archive(path, max_size_bytes=1 << 30).image() as (found, image):
        expected = nullcontext() if is_taken else pytest.raises(SourceError, match="unpacks to more than")
        with expected:
            merge_layers(found, image, written="it", limits=limits)


# memory

MEASURED = """
import sys
from pathlib import Path
from bangerbuild.formats.oci.layers import open_layers
from bangerbuild.model import HostPath
from bangerbuild.sources.oci_archive import OciArchiveSource
source = OciArchiveSource(HostPath(Path(sys.argv[1]), "it"), sys.argv[2], None, "linux/amd64")
size = 0
with (
    source.image() as (layout, image),
    open_layers(layout, image, written="it") as entries,
):
    for entry in entries:
        while entry.content and (piece := entry.content.read(1 << 20)):
            size += len(piece)
print(size)
"""


def peak_mib(path: Path, transport: str) -> float:
    """The most memory that reading an image of 4 files of 80 MiB takes."""
    command = [sys.executable, "-c", MEASURED + PRINT_PEAK_KIB, str(path), transport]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    size, peak_kib = map(int, done.stdout.split())
    assert size == 4 * 80 * MIB
    return peak_kib / 1024


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_a_large_archive_is_never_held_in_memory(tmp_path: Path, transport: str) -> None:
    piece = os.urandom(80 * MIB)
    layers = [header(b"f%d" % n, size=len(piece)) + piece + END for n in range(4)]
    path = tmp_path / "image.tar"
    if transport == "docker-archive":
        packed(path, *legacy(*layers))
    else:
        maker = LayoutMaker(tmp_path / "layout")
        maker.add(maker.image(*layers, compress=bytes))
        packed_files(path, dict(reversed(members_of(maker.path).items())))
    del layers

    assert peak_mib(path, transport) < 60
    subprocess.run([need("gzip"), "-1", path], check=True)
    assert peak_mib(path.with_name("image.tar.gz"), transport) < 100
