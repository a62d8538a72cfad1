"""The manifest for a platform, among those that an index lists."""

from __future__ import annotations

from bangerbuild.formats.oci.platforms import Platform
from tests.formats.oci.making import (
    INDEX,
    LayoutMaker,
    tarball,
)
from tests.formats.oci.reading import refusal, resolved
from tests.formats.tarmaking import member

ARM64 = Platform("linux", "arm64")
ONE, TWO = tarball(member(b"one")), tarball(member(b"two"))


def test_a_platform_is_chosen_from_an_index(maker: LayoutMaker) -> None:
    amd = maker.image(ONE, platform={"os": "linux", "architecture": "amd64"})
    arm = maker.image(TWO, architecture="arm64", platform={"os": "linux", "architecture": "arm64"})
    maker.add(maker.document({"schemaVersion": 2, "manifests": [amd, arm]}, INDEX), "v1")

    assert resolved(maker.path, "v1").digest == amd["digest"]
    assert resolved(maker.path, "v1", ARM64).digest == arm["digest"]


def test_the_top_index_may_list_the_platforms_itself(maker: LayoutMaker) -> None:
    amd = maker.image(ONE, platform={"os": "linux", "architecture": "amd64"})
    arm = maker.image(TWO, platform={"os": "linux", "architecture": "arm64"})
    maker.add(amd).add(arm)

    assert resolved(maker.path, None, ARM64).digest == arm["digest"]


def test_without_a_platform_in_the_index_the_configuration_says_it(maker: LayoutMaker) -> None:
    amd, arm = maker.image(ONE), maker.image(TWO, architecture="arm64")
    maker.add(arm).add(amd)

    assert resolved(maker.path).digest == amd["digest"]
    assert resolved(maker.path, None, ARM64).platform == ARM64


def test_an_image_for_another_platform_is_told_with_what_there_is(maker: LayoutMaker) -> None:
    maker.add(maker.image(ONE, architecture="s390x"), "v1")

    error = refusal(maker.path)

    assert error.brief == "'oci:image' has no image for 'linux/amd64'"
    assert error.hint == "it has 'linux/s390x'; say which with `platform`"


def test_an_image_that_says_no_platform_is_taken_as_it_is(maker: LayoutMaker) -> None:
    maker.add(maker.image(ONE, architecture=""))

    assert resolved(maker.path, None, ARM64).platform == ARM64


def test_attestations_in_an_index_are_passed_over(maker: LayoutMaker) -> None:
    image = maker.image(ONE, platform={"os": "linux", "architecture": "amd64"})
    attestation = maker.image(TWO, platform={"os": "unknown", "architecture": "unknown"})
    maker.add(maker.document({"manifests": [attestation, image]}, INDEX))

    assert resolved(maker.path).digest == image["digest"]
    assert refusal(maker.path, None, ARM64).hint == "it has 'linux/amd64'; say which with `platform`"


def test_dockers_old_schema_is_told_with_the_way_to_convert_it(maker: LayoutMaker) -> None:
    maker.add(maker.document({}, "application/vnd.docker.distribution.manifest.v1+prettyjws"))

    error = refusal(maker.path)

    assert "Docker's old schema 1" in error.brief
    assert "skopeo copy --format oci" in str(error.hint)


def test_an_index_of_other_things_is_told_by_their_types(maker: LayoutMaker) -> None:
    maker.add(maker.document({}, "application/vnd.example+json"))

    assert "but 'application/vnd.example+json'" in refusal(maker.path).brief
