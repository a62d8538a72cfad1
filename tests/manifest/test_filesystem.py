"""The source of a filesystem: exactly one, its own keys, and what a command line's text names."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from bangerbuild.errors import UsageError
from bangerbuild.manifest import single_image
from bangerbuild.manifest.filesystem import IMPORT_HINT, source_key
from bangerbuild.model import HostPath
from bangerbuild.sources import FILESYSTEMS
from bangerbuild.sources.directory import DirectorySource
from bangerbuild.sources.tar import TarSource
from tests.disk.ext4_tools import make_ext4
from tests.manifest.loading import loaded, problems_of, write
from tests.projects import DEBIAN, write_tar


def said(text: str) -> list[tuple[str, str]]:
    return [(problem.key, problem.message) for problem in problems_of(text)]


def host(name: str) -> HostPath:
    return HostPath(Path.cwd() / name, name)


def test_root_filesystem_and_seed_have_each_a_source_of_their_own() -> None:
    image = loaded('[image.a]\nrootfs.tar = "root.tar"\nwork_seed.directory = "tree"\n').images["a"]
    assert (image.rootfs, image.work_seed) == (TarSource(host("root.tar")), DirectorySource(host("tree")))


def test_two_sources_are_one_too_many_in_the_order_of_the_registry() -> None:
    text = '[image.a.rootfs]\ndirectory = "tree"\ntar = "root.tar"\n'
    assert said(text) == [("image.a.rootfs", "more than one source: tar and directory")]


def test_no_source_is_told_with_all_that_there_are() -> None:
    (problem,) = problems_of('[image.a.rootfs]\nsize = "1GiB"\n')
    assert (problem.key, problem.message) == ("image.a.rootfs", "no source")
    assert problem.hint == f"give one of {', '.join(FILESYSTEMS)}"


def test_where_the_schema_found_fault_nothing_is_said_twice() -> None:
    assert len(said('[image.a.rootfs]\ntart = "root.tar"\n')) == 1


@pytest.mark.parametrize(
    ("key", "value", "takers"),
    [
        ("owner", '"keep"', "'directory'"),
        ("entrypoint", '"/init"', "'oci' or 'dockerfile'"),
        ("sha256", f'"{"ab" * 32}"', "'url'"),
    ],
)
def test_a_key_of_another_source_is_told_with_those_it_goes_with(key: str, value: str, takers: str) -> None:
    text = f'[image.a.rootfs]\ntar = "root.tar"\n{key} = {value}\n'
    assert said(text) == [(f"image.a.rootfs.{key}", f"'{key}' goes with {takers} only, not with 'tar'")]


def test_what_a_command_line_names_is_told_by_its_looks_and_its_content() -> None:
    make_ext4(Path("disk"), size="8M")
    write_tar(Path("root.tar"), DEBIAN)
    names = {
        "tree": "directory",
        "disk": "ext4",
        "root.tar": "tar",
        "https://example.org/x": "url",
        "file:///srv/x.tar": "url",
        "docker://debian": "oci",
        "oci:layout:v1": "oci",
        "docker-archive:x.tar": "oci",
    }
    assert {text: source_key(text) for text in names} == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"XFSB", "'x' is an XFS filesystem: no image can be made of it"),
        (b"", "'x' is empty: no image can be made of it"),
        (bytes(99), "'x' holds nothing but zeros: no image can be made of it"),
        (b"hello", "'x' is something that begins with 'hello': no image can be made of it"),
    ],
)
def test_a_file_that_no_image_can_be_made_of_is_called_by_its_name(content: bytes, message: str) -> None:
    Path("x").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        source_key("x")
    assert caught.value.brief == message
    assert caught.value.hint


def test_what_can_not_be_read_is_told() -> None:
    with pytest.raises(UsageError, match=f"'missing' is not there .*{Path.cwd()}"):
        source_key("missing")


@pytest.mark.parametrize("source", ["missing", "oci:missing", "docker-archive:missing.tar"])
def test_what_an_import_does_not_find_is_not_said_to_be_beside_a_manifest(source: str) -> None:
    with pytest.raises(UsageError, match="is not there") as caught:
        single_image(source, "x", {}, store=Path.cwd())
    assert caught.value.hint == IMPORT_HINT


def test_a_pipe_is_refused_and_not_waited_for() -> None:
    os.mkfifo("pipe")
    with pytest.raises(UsageError, match="'pipe' is a fifo: give a file or a directory"):
        source_key("pipe")


def test_what_a_compression_hides_is_told() -> None:
    Path("disk.gz").write_bytes(gzip.compress(b"XFSB"))
    with pytest.raises(UsageError) as caught:
        source_key("disk.gz")
    assert "an XFS filesystem inside its gzip compression" in caught.value.brief
    assert str(caught.value.hint).startswith("decompress it, then mount it")


def test_a_compressed_ext4_is_a_disk_image(tmp_path: Path) -> None:
    make_ext4(tmp_path / "disk", size="8M")
    Path("disk.gz").write_bytes(gzip.compress((tmp_path / "disk").read_bytes()))
    assert source_key("disk.gz") == "disk_image"


def test_the_home_directory_may_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    write("home.txt", "x")
    assert source_key("~/tree") == "directory"
    with pytest.raises(UsageError, match=r"'~/home\.txt' is something that"):
        source_key("~/home.txt")
