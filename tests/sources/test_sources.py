"""The two registries: what is listed is what a manifest may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.manifest import form
from bangerbuild.sources import BOOT_FILES, FILESYSTEMS, shown_words
from tests.sources.building import problems

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.sources.source import LockWords, SourceKind

KINDS: dict[str, type[SourceKind]] = {**FILESYSTEMS, **BOOT_FILES}


@pytest.mark.parametrize("registry", [FILESYSTEMS, BOOT_FILES], ids=["filesystems", "boot files"])
def test_each_kind_is_listed_under_its_own_word(registry: dict[str, type[SourceKind]]) -> None:
    assert {word: kind.word for word, kind in registry.items()} == {word: word for word in registry}


def test_the_schema_has_the_words_and_the_further_keys_of_all_filesystems() -> None:
    known = {key for kind in FILESYSTEMS.values() for key in (kind.word, *kind.keys)}
    assert form.schema()["$defs"]["source"]["properties"].keys() == known | {"size", "overlay_init"}


@pytest.mark.parametrize("key", ["rootfs", "work_seed"])
def test_what_is_not_listed_does_not_exist(tmp_path: Path, key: str) -> None:
    (tmp_path / "tree").mkdir()
    other = "" if key == "rootfs" else 'rootfs.directory = "tree"\n'
    assert "unknown key 'poem'" in {
        problem.message for problem in problems(tmp_path, f'{other}{key}.poem = "spring"')
    }


@pytest.mark.parametrize("kind", KINDS.values())
def test_each_program_that_a_kind_needs_has_a_purpose_that_ends_a_sentence(kind: type[SourceKind]) -> None:
    for program in kind.programs:
        assert program.name
        assert program.purpose.split()[0].endswith("s")
        assert not program.purpose.endswith(".")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ({"url": "https://me:word@h/a.tar?key=1"}, {"url": "https://h/a.tar?…"}),
        (
            {"mmdebstrap": "sid", "packages": ["a", "b"], "mirror": "deb https://me:word@h/debian sid main"},
            {"mmdebstrap": "sid", "packages": "a b", "mirror": "deb https://…@h/debian sid main"},
        ),
        (
            {"mmdebstrap": "sid", "arguments": ["--aptopt=Acquire::http::Proxy=http://me:word@h/"]},
            {"mmdebstrap": "sid", "arguments": "--aptopt=Acquire::http::Proxy=http://…@h/"},
        ),
        ({"oci": "docker://debian@sha256:0a"}, {"oci": "docker://debian@sha256:0a"}),
        ({"tar": "a@b/c#d?e.tar"}, {"tar": "a@b/c#d?e.tar"}),
        ({"unknown": "ftp://me:word@h/a?key=1"}, {"unknown": "ftp://h/a?…"}),
    ],
)
def test_an_entry_of_the_lock_file_is_shown_without_secrets(words: LockWords, shown: dict[str, str]) -> None:
    assert shown_words(words) == shown
