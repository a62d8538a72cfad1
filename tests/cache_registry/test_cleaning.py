"""Tags that nobody needs, in Debian's docker-registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.cache_registry import cleaning
from bangerbuild.cache_registry.repository import Repository
from bangerbuild.errors import SourceError
from tests.formats.oci.making import layout_of, tarball
from tests.formats.tarmaking import member
from tests.registry import Registry, running_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEEDED, UNNEEDED = "a" * 32, "b" * 32


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One with three tags of an image, of which one is nothing of ours."""
    layout = layout_of(tmp_path_factory.mktemp("image") / "layout", tarball(member(b"a", b"one")), tag="v1")
    with running_registry(tmp_path_factory.mktemp("registry"), deletes=True) as running:
        for tag in (NEEDED, "latest"):
            running.push(f"oci:{layout}:v1", f"team/small:{tag}")
        other = layout_of(tmp_path_factory.mktemp("other") / "layout", tarball(member(b"b", b"")), tag="v1")
        running.push(f"oci:{other}:v1", f"team/small:{UNNEEDED}")
        yield running


@pytest.fixture(autouse=True)
def user(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in registry.environ.items():
        monkeypatch.setenv(name, value)


def test_only_fingerprints_that_nobody_needs_are_listed_and_removed(registry: Registry) -> None:
    repository = Repository.parse(f"docker://{registry.address}/team")
    tag = f"docker://{registry.address}/team/small:{UNNEEDED}"
    assert cleaning.surplus(repository, "small", {NEEDED}) == (tag,)
    cleaning.remove(tag)
    assert cleaning.surplus(repository, "small", {NEEDED}) == ()
    assert cleaning.surplus(repository, "small", set()) == (
        f"docker://{registry.address}/team/small:{NEEDED}",
    )


def test_an_image_that_was_never_pushed_has_nothing_to_remove(registry: Registry) -> None:
    repository = Repository.parse(f"docker://{registry.address}/team")
    assert cleaning.surplus(repository, "other", set()) == ()


def test_a_registry_that_removes_nothing_is_named(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_registry(tmp_path) as stubborn:
        for name, value in stubborn.environ.items():
            monkeypatch.setenv(name, value)
        layout = layout_of(tmp_path / "layout", tarball(member(b"a", b"")), tag="v1")
        stubborn.push(f"oci:{layout}:v1", f"team/small:{UNNEEDED}")
        with pytest.raises(SourceError, match=f"{stubborn.address}.*lets nothing be deleted"):
            cleaning.remove(f"docker://{stubborn.address}/team/small:{UNNEEDED}")
