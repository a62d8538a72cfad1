"""Addresses of caches, and the names of what lies in them."""

from __future__ import annotations

import pytest

from bangerbuild.cache_registry.repository import Repository, component
from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.reference import parse_reference


@pytest.mark.parametrize(
    ("address", "name", "registry"),
    [
        ("docker://registry.example/team/images", "registry.example/team/images", "registry.example"),
        ("docker://registry.example:5000/x/", "registry.example:5000/x", "registry.example:5000"),
        ("docker://registry.example", "registry.example", "registry.example"),
        ("docker://team", "docker.io/team", "docker.io"),
    ],
)
def test_an_address_names_a_registry_and_a_place_in_it(address: str, name: str, registry: str) -> None:
    found = Repository.parse(address)
    assert (found.name, found.registry) == (name, registry)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "registry.example/team",
        "oci:layout",
        "docker://",
        "docker://registry.example/team:latest",
        "docker://registry.example/Team",
        "docker://someone:secret@registry.example/team",
        f"docker://registry.example/team@sha256:{'0' * 64}",
    ],
)
def test_what_is_no_address_is_refused_with_one_that_is(address: str) -> None:
    with pytest.raises(SourceError) as caught:
        Repository.parse(address)
    assert "docker://registry.example/team/images" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["a", "web-1", "a_b", "a-", "a__b", "a___b", "0_", "a" * 63])
def test_each_image_has_a_repository_of_a_name_that_registries_take(name: str) -> None:
    reference = Repository.parse("docker://registry.example/team").of(name, "f" * 32)
    assert parse_reference(str(reference)) == reference


def test_a_name_that_registries_take_is_the_image_s_own() -> None:
    assert component("bookworm") == "bookworm"
    assert component("a-") != component("b-")
