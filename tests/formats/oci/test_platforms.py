from __future__ import annotations

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.platforms import Platform, best, host_platform, parse_platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
    ],
)
def test_a_platform_is_system_architecture_and_variant(text: str, platform: Platform) -> None:
    assert parse_platform(text) == platform


@pytest.mark.parametrize(
    "text", ["", "amd64", "linux/", "linux/amd64/v2/x", "linux/AMD64", "linux/a b", "/x"]
)
def test_what_is_no_platform_is_told_with_an_example(text: str) -> None:
    with pytest.raises(SourceError, match="is no platform") as caught:
        parse_platform(text)
    assert "linux/amd64" in str(caught.value.hint)


def test_a_platform_without_linux_is_refused() -> None:
    with pytest.raises(SourceError, match="'windows/amd64' is a platform without Linux"):
        parse_platform("windows/amd64")


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("sw_64", "linux/sw_64"),
    ],
)
def test_a_hosts_platform_is_what_go_calls_its_machine(machine: str, text: str) -> None:
    assert str(host_platform(machine)) == text


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64/v1"], 1),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v3"], 1),
        ("linux/amd64", ["linux/amd64/v2"], None),
        ("linux/amd64", ["linux/386"], None),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("linux/arm", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/amd64", [], None),
    ],
)
def test_the_nearest_variant_that_still_runs_is_chosen(
    wanted: str, offered: list[str], chosen: int | None
) -> None:
    assert best(parse_platform(wanted), map(parse_platform, offered)) == chosen


def test_what_says_no_platform_is_never_the_best() -> None:
    assert best(parse_platform("linux/amd64"), [None, Platform("unknown", "unknown")]) is None


@pytest.mark.parametrize("variant", ["v" + "9" * 5000, "v²", "v-1", "vv", "\0"])
def test_a_variant_that_is_no_number_is_no_work(variant: str) -> None:
    best(Platform("linux", "arm", "v7"), [Platform("linux", "arm", variant)])
    best(Platform("linux", "arm", variant), [Platform("linux", "arm", "v7")])
