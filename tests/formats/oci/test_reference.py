from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import SourceError, printable
from bangerbuild.formats.oci.reference import Reference, parse_reference
from bangerbuild.identities import removed

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ("docker://debian", "docker.io/library/debian", "latest"),
        ("docker://debian:12", "docker.io/library/debian", "12"),
        ("docker://grafana/grafana:11.0", "docker.io/grafana/grafana", "11.0"),
        ("docker://docker.io/debian", "docker.io/library/debian", "latest"),
        ("docker://index.docker.io/debian", "docker.io/library/debian", "latest"),
        ("docker://quay.io/a/b/c:v1", "quay.io/a/b/c", "v1"),
        ("docker://localhost/x", "localhost/x", "latest"),
        ("docker://localhost:5000/x", "localhost:5000/x", "latest"),
        ("docker://127.0.0.1:5000/a/x:T_1.0-rc", "127.0.0.1:5000/a/x", "T_1.0-rc"),
        ("docker://[::1]:5000/x:1", "[::1]:5000/x", "1"),
        ("docker://Registry/x", "Registry/x", "latest"),
        ("docker://a/b__c-d.e", "docker.io/a/b__c-d.e", "latest"),
    ],
)
def test_names_of_registries_are_read_as_docker_reads_them(text: str, name: str, tag: str) -> None:
    assert parse_reference(text) == Reference("docker", name, tag)


def test_a_digest_counts_and_the_tag_beside_it_is_kept_for_people() -> None:
    found = parse_reference(f"docker://debian:12@{DIGEST}")

    assert found == Reference("docker", "docker.io/library/debian", "12", DIGEST)
    assert str(found) == f"docker://docker.io/library/debian@{DIGEST}"


def test_a_digest_alone_has_no_tag() -> None:
    assert parse_reference(f"docker://debian@{DIGEST}").tag is None


@pytest.mark.parametrize(
    ("text", "transport", "name", "tag"),
    [
        ("oci:layout", "oci", "layout", None),
        ("oci:../some dir/layout:v1.0", "oci", "../some dir/layout", "v1.0"),
        ("oci:/a:docker.io/library/debian:12", "oci", "/a", "docker.io/library/debian:12"),
        ("oci-archive:a.tar", "oci-archive", "a.tar", None),
        ("oci-archive:~/a.tar:1", "oci-archive", "~/a.tar", "1"),
        ("docker-archive:a.tar:team/app:1", "docker-archive", "a.tar", "team/app:1"),
        ("docker-archive:a.tar:@0", "docker-archive", "a.tar", "@0"),
    ],
)
def test_files_have_a_path_up_to_the_first_colon(
    text: str, transport: str, name: str, tag: str | None
) -> None:
    found = parse_reference(text)

    assert found == Reference(transport, name, tag)
    assert str(found) == text


@pytest.mark.parametrize(
    ("text", "brief", "hint"),
    [
        ("", "names no image", "docker://debian:12"),
        ("debian:12", "names no image", "is it 'docker://debian:12'?"),
        ("docker-daemon:x", "names no image", "docker-archive:FILE"),
        ("dir:/x", "names no image", "oci:DIR:TAG"),
        ("https://docker.io/debian", "names no image", "docker://debian:12"),
        ("oci:", "names no file", "oci:PATH:TAG"),
        ("oci-archive::tag", "names no file", "oci-archive:PATH:TAG"),
        ("oci:dir:", "a tag that is none: ''", "a path can't have ':'"),
        ("oci:dir:-x", "a tag that is none: '-x'", "begins with a letter or digit"),
        ("oci:dir:x y", "a tag that is none: 'x y'", "begins with"),
        ("docker://", "its part '' is no name", "lower-case"),
        ("docker://Debian", "its part 'Debian' is no name", "lower-case"),
        ("docker://a//b", "its part '' is no name", "lower-case"),
        ("docker://quay.io/../x", "its part '..' is no name", "lower-case"),
        ("docker://-x.io/y", "its registry '-x.io' is no name", "lower-case"),
        ("docker://x:", "a tag that is none: ''", "letters, digits"),
        ("docker://x:a b", "a tag that is none: 'a b'", "letters, digits"),
        ("docker://x:" + "t" * 129, "a tag that is none", "letters, digits"),
        ("docker://x@sha256:12", "a digest that is none: 'sha256:12'", "64 digits"),
        ("docker://x@md5:" + "0" * 32, "a digest that is none", "64 digits"),
        ("docker://x@", "a digest that is none: ''", "64 digits"),
        ("docker://x@" + DIGEST.upper(), "a digest that is none", "64 digits"),
        ("docker://" + "x" * 300, "255 bytes at most", None),
    ],
)
def test_what_names_no_image_is_told_with_the_way_to_write_one(
    text: str, brief: str, hint: str | None
) -> None:
    with pytest.raises(SourceError, match=re.escape(brief)) as caught:
        parse_reference(text)

    assert removed(printable(text)) in caught.value.brief
    assert (hint or "") in (caught.value.hint or "")


def test_a_registrys_image_is_named_by_what_it_has_been_pinned_to() -> None:
    registry = parse_reference("docker://debian:12")

    assert str(registry.pinned(DIGEST)) == f"docker://docker.io/library/debian@{DIGEST}"


@given(text=st.text(max_size=40), start=st.sampled_from(["", "docker://", "oci:", "docker-archive:"]))
def test_any_text_is_a_reference_that_reads_the_same_again_or_one_plain_error(text: str, start: str) -> None:
    found = reference_or_error(start + text)

    if isinstance(found, SourceError):
        assert "\n" not in found.brief
    else:
        assert parse_reference(str(found)) == found


def reference_or_error(text: str) -> Reference | SourceError:
    try:
        return parse_reference(text)
    except SourceError as err:
        return err
