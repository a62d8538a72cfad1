"""skopeo's commands, as literals and against registries on loopback; and its failures, in plain words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci import skopeo
from bangerbuild.formats.oci.platforms import Platform
from bangerbuild.formats.oci.reference import parse_reference
from tests.formats.oci.making import (
    INDEX,
    LayoutMaker,
    digest_of,
    directory,
    layout_of,
    tarball,
    whiteout,
)
from tests.formats.oci.reading import AMD64, resolved, streamed
from tests.formats.tarmaking import member
from tests.registry import PASSWORD, Registry, running_registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.formats.oci.reference import Reference

ARM64 = Platform("linux", "arm64")
LOWER = tarball(directory(b"etc", mode=0o750), member(b"etc/a", b"one"), member(b"etc/b", b"two"))
UPPER = tarball(whiteout(b"etc/a"), member(b"etc/c", b"three"))
DEBIAN = parse_reference("docker://debian:12")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("private"), is_private=True) as registry:
        yield registry


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of two layers."""
    return layout_of(tmp_path_factory.mktemp("image") / "layout", LOWER, UPPER, tag="v1")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image for two platforms."""
    maker = LayoutMaker(tmp_path_factory.mktemp("index") / "layout")
    manifests = [
        maker.image(layer, architecture=name, platform={"os": "linux", "architecture": name})
        for name, layer in (("amd64", LOWER), ("arm64", UPPER))
    ]
    fields = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
    return maker.add(maker.document(fields, INDEX), "v1").path


def asked(reference: Reference, environ: Mapping[str, str], platform: Platform = AMD64) -> str:
    command = skopeo.inspect_digest(reference, environ=environ, retries=0)
    return skopeo.digest_in(skopeo.run(command, reference).output, reference, platform)


def fetched(
    reference: Reference, layout: Path, environ: Mapping[str, str], platform: Platform = AMD64
) -> Path:
    skopeo.run(skopeo.copy_to_layout(reference, layout, platform, environ=environ), reference)
    return layout


# commands


def test_asking_for_a_digest_reads_the_manifest_as_it_is() -> None:
    command = skopeo.inspect_digest(DEBIAN, environ={})

    assert command.argv == (
        "skopeo",
        "inspect",
        "--raw",
        "--retry-times=3",
        "docker://docker.io/library/debian:12",
    )


def test_fetching_names_platform_and_layout_and_keeps_the_layers_as_they_are(tmp_path: Path) -> None:
    command = skopeo.copy_to_layout(DEBIAN, tmp_path / "layout", Platform("linux", "arm", "v7"), environ={})

    assert command.argv == (
        "skopeo",
        "--override-os=linux",
        "--override-arch=arm",
        "--override-variant=v7",
        "copy",
        "--quiet",
        "--retry-times=3",
        "--remove-signatures",
        "--dest-oci-accept-uncompressed-layers",
        "docker://docker.io/library/debian:12",
        f"oci:{tmp_path / 'layout'}",
    )


def test_pushing_changes_no_byte_of_the_manifest(tmp_path: Path) -> None:
    command = skopeo.copy_from_layout(tmp_path, DEBIAN, environ={})
    flags = ("copy", "--quiet", "--preserve-digests", "--retry-times=3")
    assert command.argv == ("skopeo", *flags, f"oci:{tmp_path}", "docker://docker.io/library/debian:12")


def test_tags_are_listed_of_a_repository_and_deleted_one_by_one() -> None:
    listing = skopeo.list_tags(DEBIAN, environ={})
    assert listing.argv == ("skopeo", "list-tags", "--retry-times=3", "docker://docker.io/library/debian")
    deleting = skopeo.delete(DEBIAN, environ={})
    assert deleting.argv == ("skopeo", "delete", "--retry-times=3", "docker://docker.io/library/debian:12")
    assert skopeo.tags_in('{"Repository": "debian", "Tags": ["11", "12"]}', DEBIAN) == ("11", "12")


def test_a_name_that_is_not_there_is_told_from_a_registry_that_fails() -> None:
    said = 'time="x" level=fatal msg="reading manifest 12 in docker.io/library/debian: {}"'
    unknown, denied = "manifest unknown: manifest unknown", "unauthorized: authentication required"
    assert skopeo.is_missing(skopeo.failure(said.format(unknown), DEBIAN))
    assert not skopeo.is_missing(skopeo.failure(said.format(denied), DEBIAN))


def test_of_the_environment_is_passed_on_what_leads_to_registries_and_nothing_else() -> None:
    wanted = {
        "HOME": "/home/me",
        "XDG_RUNTIME_DIR": "/run/user/1",
        "XDG_CONFIG_HOME": "/c",
        "REGISTRY_AUTH_FILE": "/a",
        "DOCKER_CONFIG": "/d",
        "CONTAINERS_REGISTRIES_CONF": "/r",
        "HTTPS_PROXY": "http://proxy",
        "https_proxy": "http://proxy",
        "NO_PROXY": "localhost",
        "TMPDIR": "/t",
        "SSL_CERT_FILE": "/s",
        "SSL_CERT_DIR": "/s",
        "AWS_PROFILE": "me",
    }
    others = {"LANG": "de_DE", "LD_PRELOAD": "x", "PATH": "/evil", "MY_HOME": "1", "HOMER": "2", "PWD": "/"}

    assert skopeo.environment(wanted | others) == wanted
    assert skopeo.inspect_digest(DEBIAN, environ=wanted | others).env == wanted


def test_the_users_registries_conf_is_an_option_too_for_versions_that_know_no_variable() -> None:
    command = skopeo.inspect_digest(DEBIAN, environ={"CONTAINERS_REGISTRIES_CONF": "/etc/mine.conf"})

    assert command.argv[:3] == ("skopeo", "--registries-conf=/etc/mine.conf", "inspect")


# a registry


def test_the_digest_of_a_tag_is_its_manifests(registry: Registry, layout: Path) -> None:
    registry.push(f"oci:{layout}:v1", "team/app:1")

    digest = asked(parse_reference(registry.name("team/app:1")), registry.environ)

    assert digest == resolved(layout, "v1").digest


def test_what_is_fetched_is_the_image_that_was_pushed(
    registry: Registry, layout: Path, tmp_path: Path
) -> None:
    registry.push(f"oci:{layout}:v1", "team/app:2")

    copied = fetched(parse_reference(registry.name("team/app:2")), tmp_path / "copied", registry.environ)

    assert resolved(copied).digest == resolved(layout, "v1").digest
    assert streamed(copied) == streamed(layout, "v1")
    assert sorted(streamed(copied)) == ["etc", "etc/b", "etc/c"]


def test_a_pinned_digest_stays_what_it_was_when_its_tag_moves(
    registry: Registry, layout: Path, tmp_path: Path
) -> None:
    registry.push(f"oci:{layout}:v1", "team/moving:latest")
    reference = parse_reference(registry.name("team/moving"))
    digest = asked(reference, registry.environ)
    other = layout_of(tmp_path / "other", UPPER, tag="v1")
    registry.push(f"oci:{other}:v1", "team/moving:latest")

    copied = fetched(reference.pinned(digest), tmp_path / "copied", registry.environ)

    assert asked(reference, registry.environ) == resolved(other, "v1").digest != digest
    assert resolved(copied).digest == digest


def test_of_an_index_the_platforms_own_manifest_counts(
    registry: Registry, index: Path, tmp_path: Path
) -> None:
    registry.push(f"oci:{index}:v1", "team/multi:1", "--all")
    reference = parse_reference(registry.name("team/multi:1"))

    for platform, layer in ((AMD64, LOWER), (ARM64, UPPER)):
        digest = asked(reference, registry.environ, platform)
        place = tmp_path / platform.architecture
        place.mkdir()
        for way, named in (("tag", reference), ("digest", reference.pinned(digest))):
            image = resolved(fetched(named, place / way, registry.environ, platform), None, platform)
            assert image.digest == digest
            assert [layer.diff_id for layer in image.layers] == [digest_of(layer)]


def test_a_platform_that_an_index_lacks_is_told_with_those_it_has(registry: Registry, index: Path) -> None:
    registry.push(f"oci:{index}:v1", "team/multi:2", "--all")
    reference = parse_reference(registry.name("team/multi:2"))

    with pytest.raises(SourceError, match="has no image for 'linux/s390x'") as caught:
        asked(reference, registry.environ, Platform("linux", "s390x"))
    assert caught.value.hint == "it has 'linux/amd64', 'linux/arm64'; say which with `platform`"


def test_fetching_a_platform_that_is_not_there_fails_in_the_same_words(
    registry: Registry, index: Path, tmp_path: Path
) -> None:
    registry.push(f"oci:{index}:v1", "team/multi:3", "--all")
    reference = parse_reference(registry.name("team/multi:3"))

    with pytest.raises(SourceError, match="has no image for the platform"):
        fetched(reference, tmp_path / "copied", registry.environ, Platform("linux", "s390x"))


def test_an_image_in_dockers_own_format_is_the_same_tree(
    registry: Registry, layout: Path, tmp_path: Path
) -> None:
    registry.push(f"oci:{layout}:v1", "team/docker:1", "--format=v2s2")

    copied = fetched(parse_reference(registry.name("team/docker:1")), tmp_path / "copied", registry.environ)

    assert streamed(copied) == streamed(layout, "v1")


# who may


def test_a_private_registry_is_read_with_the_users_authfile(
    private: Registry, layout: Path, tmp_path: Path
) -> None:
    private.push(f"oci:{layout}:v1", "app:1")
    reference = parse_reference(private.name("app:1"))
    environ = {**private.environ, "REGISTRY_AUTH_FILE": str(private.log_in())}

    assert asked(reference, environ) == resolved(layout, "v1").digest
    assert streamed(fetched(reference, tmp_path / "copied", environ)) == streamed(layout, "v1")


@pytest.mark.parametrize("authfile", ['{"auths": {}}', '{"auths": {"ADDRESS": {"auth": "eDp5"}}}'])
def test_without_the_right_password_the_way_to_log_in_is_named(
    private: Registry, layout: Path, tmp_path: Path, authfile: str
) -> None:
    private.push(f"oci:{layout}:v1", "app:2")
    (tmp_path / "auth.json").write_text(authfile.replace("ADDRESS", private.address))
    reference = parse_reference(private.name("app:2"))

    with pytest.raises(SourceError) as caught:
        asked(reference, {**private.environ, "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")})

    assert caught.value.brief == f"'{reference}' is not there, or only for those who log in"
    assert "skopeo login" in str(caught.value.hint)
    assert PASSWORD not in str(caught.value.details)


@pytest.mark.parametrize("rest", ["team/app:no-such-tag", "no/such/name:1", f"team/app@sha256:{'0' * 64}"])
def test_what_a_registry_does_not_have_is_told_so(registry: Registry, layout: Path, rest: str) -> None:
    registry.push(f"oci:{layout}:v1", "team/app:1")
    reference = parse_reference(registry.name(rest))

    with pytest.raises(SourceError) as caught:
        asked(reference, registry.environ)

    assert caught.value.brief.startswith(f"'{reference}' is not there")
    assert "manifest unknown" in str(caught.value.details)


def test_plain_http_is_refused_with_the_setting_that_allows_it(registry: Registry) -> None:
    reference = parse_reference(registry.name("team/app:1"))

    with pytest.raises(SourceError, match="speaks http and not https") as caught:
        asked(reference, {"HOME": registry.environ["HOME"]})
    assert "`insecure = true`" in str(caught.value.hint)


def test_a_registry_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with running_registry(tmp_path) as registry:
        reference = parse_reference(registry.name("team/app:1"))

    with pytest.raises(SourceError, match="nothing answers where its registry should be"):
        asked(reference, registry.environ)


def test_an_unknown_certificate_is_refused_and_one_that_the_user_names_is_taken(
    layout: Path, tmp_path: Path
) -> None:
    with running_registry(tmp_path, has_certificate=True) as registry:
        registry.push(f"oci:{layout}:v1", "app:1")
        reference = parse_reference(registry.name("app:1"))

        with pytest.raises(SourceError, match="certificate is not trusted") as caught:
            asked(reference, registry.environ)
        digest = asked(reference, {**registry.environ, "SSL_CERT_FILE": str(registry.certificate)})

    assert "certs.d" in str(caught.value.hint)
    assert digest == resolved(layout, "v1").digest


def test_a_directory_that_skopeo_would_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has a ':' in it") as caught:
        skopeo.copy_to_layout(DEBIAN, tmp_path / "lay:out", AMD64, environ={})
    assert "another name" in str(caught.value.hint)


# words


MESSAGES = {
    "is not there": "reading manifest 2 in docker.io/library/x: manifest unknown: manifest unknown",
    "only for those who log in": "reading manifest 1 in a/b: requested access to the resource is denied",
    "its registry has no address": "pinging container registry nohost.invalid: Get"
    ' \\"https://nohost.invalid/v2/\\": dial tcp: lookup nohost.invalid on 10.0.0.1:53: no such host',
    "asked too often": "reading manifest: toomanyrequests: You have reached your pull rate limit.",
    "no policy of what to trust": "Error loading trust policy: open policy.json: no such file",
    "the connection broke": "reading blob sha256:12: unexpected EOF",
    "may not be read or written": "creating oci layout: mkdir /x/layout: permission denied",
    "there is no space left": "writing blob: write /tmp/x: no space left on device",
    "can't be fetched": "something that nobody has seen yet",
}


@pytest.mark.parametrize("brief", MESSAGES)
def test_what_skopeo_says_is_told_in_words_about_the_image(brief: str) -> None:
    warning = 'time="2026-01-01T00:00:00Z" level=warning msg="Failed, retrying in 1s ... (1/3)"\n'
    fatal = f'time="2026-01-01T00:00:00Z" level=fatal msg="{MESSAGES[brief]}"\n'

    error = skopeo.failure(warning + fatal, DEBIAN)

    assert error.brief.startswith("'docker://docker.io/library/debian:12' ")
    assert brief in error.brief
    assert str(error.details).startswith(MESSAGES[brief].split("\\", maxsplit=1)[0])
    assert "retrying" not in str(error.details)


def test_a_word_in_the_name_or_a_digest_is_no_reason() -> None:
    reference = parse_reference("docker://quay.io/manifest.unknown/eof:1")
    digest = f"sha256:{'404' * 21}4"
    fatal = f'time="2026-01-01T00:00:00Z" level=fatal msg="reading {reference.name}: blob {digest} is odd"\n'

    assert skopeo.failure(fatal, reference).brief == f"'{reference}' can't be fetched"


def test_output_that_is_no_log_is_shown_as_it_is() -> None:
    assert skopeo.failure("panic: oh no\n", DEBIAN).details == "panic: oh no"


def test_warnings_among_the_output_do_not_change_the_digest() -> None:
    raw = '{"schemaVersion":2,"layers":[]}'
    warning = 'time="2026-01-01T00:00:00Z" level=warning msg="Failed, retrying \\"x\\""\n'

    assert skopeo.digest_in(warning + raw, DEBIAN, AMD64) == digest_of(raw.encode())


def test_a_manifest_that_is_none_is_one_plain_error() -> None:
    with pytest.raises(SourceError, match="is no JSON"):
        skopeo.digest_in("<html>", DEBIAN, AMD64)


def test_a_program_that_fails_without_a_word_is_still_an_error() -> None:
    command = replace(skopeo.inspect_digest(DEBIAN, environ={}), argv=("false",))

    with pytest.raises(SourceError, match="can't be fetched"):
        skopeo.run(command, DEBIAN)
