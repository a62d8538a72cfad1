"""The images that a Dockerfile names, wherever it does, and the file with other names in their places."""

from __future__ import annotations

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.dockerfile import Base, Dockerfile

LIBRARY = "docker.io/library"


def names(text: str, **arguments: str) -> list[str]:
    return [str(base) for base in Dockerfile(text, arguments, "Dockerfile").bases()]


def pinned(text: str, **arguments: str) -> str:
    found = Dockerfile(text, arguments, "Dockerfile")
    return found.pinned({base: f"PIN{number}" for number, base in enumerate(found.bases())})


def test_what_comes_after_the_target_does_not_count() -> None:
    text = "FROM a AS x\nFROM x AS Y\nCOPY --from=b / /\nFROM c AS z\nCOPY --from=d / /\n"
    found = Dockerfile(text, {}, "Dockerfile", "y")
    assert {str(base) for base in found.bases()} == {f"{LIBRARY}/a:latest", f"{LIBRARY}/b:latest"}
    written = found.pinned(dict.fromkeys(found.bases(), "PIN"))
    assert written.endswith("FROM x AS Y\nCOPY --from=bangerbuild-image-0 / /\n")
    assert found.stages() == ("x", "y", "z")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM debian", [f"{LIBRARY}/debian:latest"]),
        ("from debian:12 as x", [f"{LIBRARY}/debian:12"]),
        ("FROM reg.example:5000/a/b:1", ["reg.example:5000/a/b:1"]),
        ("FROM scratch", []),
        ("FROM a AS x\nFROM X AS y\nFROM y", [f"{LIBRARY}/a:latest"]),
        ("FROM a\nFROM a", [f"{LIBRARY}/a:latest"]),
        ("FROM --platform=linux/arm64 a", [f"{LIBRARY}/a:latest for linux/arm64"]),
        ("FROM --platform=$BUILDPLATFORM a", [f"{LIBRARY}/a:latest"]),
        ("ARG V=1\nFROM a:$V", [f"{LIBRARY}/a:1"]),
        ('ARG V="1" W=${V}2\nFROM a:${W}', [f"{LIBRARY}/a:12"]),
        ("FROM a:${V:-3}", [f"{LIBRARY}/a:3"]),
        ("ARG V=1\nFROM a:x${V:+y}", [f"{LIBRARY}/a:xy"]),
        ("FROM a \\\n# no\n\n  AS x\nFROM x", [f"{LIBRARY}/a:latest"]),
        ("# escape=`\nFROM a `\n AS x", [f"{LIBRARY}/a:latest"]),
        ("FROM a\nRUN <<EOF\nFROM b\nEOF\nRUN echo \\\nFROM c", [f"{LIBRARY}/a:latest"]),
        ("FROM a\nCOPY --from=b:1 /x /y", [f"{LIBRARY}/a:latest", f"{LIBRARY}/b:1"]),
        ("FROM a AS x\nFROM x\nCOPY --from=0 /x /\nCOPY --from=x /x /", [f"{LIBRARY}/a:latest"]),
        ("FROM a\nRUN --mount=type=bind,from=b,target=/x ls", [f"{LIBRARY}/a:latest", f"{LIBRARY}/b:latest"]),
    ],
)
def test_every_image_is_found_once(text: str, found: list[str]) -> None:
    assert sorted(names(text)) == sorted(found)


def test_an_argument_of_the_build_counts_where_the_file_declares_it() -> None:
    assert names("ARG V=1\nFROM a:$V", V="2") == [f"{LIBRARY}/a:2"]
    with pytest.raises(SourceError):
        names("FROM a:1$V/", V="2")


def test_images_get_their_other_names_and_all_else_stays() -> None:
    text = "# syntax=docker/dockerfile:1\n# kept\nARG V=1\nFROM --platform=linux/arm64 a:$V AS X\nENV A=$V\n"
    assert pinned(text) == (
        "# syntax=docker/dockerfile:1\nARG V=1\nFROM --platform=linux/arm64 PIN0 AS X\nENV A=$V\n"
    )


def test_an_image_that_is_copied_from_becomes_a_stage_before_all_and_numbers_go_on_from_there() -> None:
    text = "FROM a\nFROM scratch\nCOPY --from=0 /x /\nCOPY --from=b /x /\nRUN --mount=from=b,target=/m ls"
    assert pinned(text).splitlines() == [
        "FROM PIN1 AS bangerbuild-image-0",
        "FROM PIN0",
        "FROM scratch",
        "COPY --from=1 /x /",
        "COPY --from=bangerbuild-image-0 /x /",
        "RUN --mount=from=bangerbuild-image-0,target=/m ls",
    ]


def test_the_stages_have_the_names_that_they_were_given() -> None:
    assert Dockerfile("FROM a AS One\nFROM b\nFROM c as two", {}, "x").stages() == ("one", "two")
    assert Base("a", "linux/arm64") != Base("a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no FROM"),
        ("RUN x", "has no FROM"),
        ("FROM", "names no image"),
        ("FROM $X", "names no image"),
    ],
)
def test_what_is_none_is_told(text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        names(text)
