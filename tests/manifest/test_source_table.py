"""The table of a source: what is in it, and each fault as a problem at its place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.manifest.files import Location, ManifestFile
from bangerbuild.manifest.problems import Findings, InvalidValueError
from bangerbuild.manifest.source_table import TableReader, size_from
from bangerbuild.manifest.values import parse_size
from bangerbuild.model import HostPath

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = """[image.a.rootfs]
tar = "root.tar"
size = "4MiB"
list = ["a", "b"]
"""
MIB = 1 << 20


def table(values: dict[str, Any], *, is_single: bool = False) -> TableReader:
    place = Location(ManifestFile(Path("vm.toml").absolute(), TEXT), ("image", "a", "rootfs"))
    return TableReader(values, place, Findings(), "rootfs", is_single=is_single)


def found(reader: TableReader) -> list[tuple[int, str, str, str | None]]:
    """The problems: line, key, message and hint."""
    return [(one.line, one.key, one.message, one.hint) for one in reader.findings.problems]


def refused(text: str) -> str:
    raise SourceError(f"'{text}' is none", hint="try another")


def test_values_are_got_as_they_are_and_none_where_they_are_not() -> None:
    reader = table({"keep": "yes", "inner": {"suite": "sid"}})
    assert ("keep" in reader, "other" in reader) == (True, False)
    assert (reader.get("keep"), reader.get("other")) == ("yes", None)
    assert (reader.sub("inner").get("suite"), reader.sub("inner").key) == ("sid", "rootfs")


READS: dict[str, Callable[[TableReader], object]] = {
    "guest_path": lambda reader: reader.guest_path("x"),
    "size": lambda reader: reader.size("x"),
    "convert": lambda reader: reader.convert("x", str.upper),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_key_that_is_not_given_is_nothing_and_no_problem(read: Callable[[TableReader], object]) -> None:
    reader = table({})
    assert (read(reader), found(reader)) == (None, [])


def test_files_and_directories_are_looked_for_beside_the_manifest() -> None:
    reader = table({"tar": "root.tar", "directory": "tree", "oci": "oci:tree:v1"})
    assert reader.file("tar") == HostPath(Path.cwd() / "root.tar", "root.tar")
    assert reader.directory("directory") == HostPath(Path.cwd() / "tree", "tree")
    assert reader.directory("oci", "tree") == HostPath(Path.cwd() / "tree", "tree")
    assert found(reader) == []


@pytest.mark.parametrize(("key", "name"), [("file", "tree"), ("directory", "root.tar"), ("file", "missing")])
def test_what_is_not_what_it_should_be_is_a_problem_and_the_next_is_read_on(key: str, name: str) -> None:
    reader = table({"tar": name, "size": "1GiB"})
    assert isinstance(getattr(reader, key)("tar"), HostPath)
    ((line, place, message, _),) = found(reader)
    assert (line, place) == (2, "image.a.rootfs.tar")
    assert name in message
    assert reader.size("size") == 1 << 30


def test_a_single_value_is_its_own_place() -> None:
    reader = table({"path": "missing"}, is_single=True)
    reader.file("path")
    assert [key for _, key, _, _ in found(reader)] == ["image.a.rootfs"]


def test_a_size_that_is_too_small_for_what_it_starts_as_is_a_problem() -> None:
    reader = table({"size": "4MiB"})
    assert reader.size("size", least_bytes=8 * MIB, what="'root.tar'") is None
    assert found(reader) == [
        (
            3,
            "image.a.rootfs.size",
            "size is '4MiB', smaller than 'root.tar': 8MiB",
            "make it larger, or leave out `size`",
        )
    ]
    assert reader.size("size", least_bytes=4 * MIB, what="'root.tar'") == 4 * MIB


def test_nothing_is_too_small_for_what_nobody_knows() -> None:
    assert size_from(parse_size, None, "", "4MiB") == 4 * MIB
    with pytest.raises(InvalidValueError):
        size_from(parse_size, None, "", "4MB of room")


def test_what_a_conversion_refuses_is_a_problem_with_its_hint() -> None:
    reader = table({"tar": "x", "list": ["a", "b"]})
    assert reader.convert("tar", str.upper) == "X"
    assert reader.convert("list", str.upper, 1) == "B"
    assert reader.convert("tar", refused) is None
    assert reader.convert("list", refused, 0) is None
    assert found(reader) == [
        (2, "image.a.rootfs.tar", "'x' is none", "try another"),
        (4, "image.a.rootfs.list[0]", "'a' is none", "try another"),
    ]


def test_a_guest_path_must_be_absolute() -> None:
    reader = table({"entrypoint": "/sbin/start", "tar": "sbin/start"})
    assert reader.guest_path("entrypoint") == "/sbin/start"
    assert reader.guest_path("tar") is None
    assert [key for _, key, _, _ in found(reader)] == ["image.a.rootfs.tar"]


def test_a_problem_is_of_a_key_or_of_the_whole_table() -> None:
    reader = table({"tar": "x"})
    reader.problem("tar", "is odd", "look again")
    reader.problem("", "is odd altogether")
    assert found(reader) == [
        (2, "image.a.rootfs.tar", "is odd", "look again"),
        (1, "image.a.rootfs", "is odd altogether", None),
    ]
