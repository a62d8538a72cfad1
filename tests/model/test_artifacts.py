"""Paths of artifacts are text with parts."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.model.artifacts import directory_of, is_image_directory, named_image_directories
from bangerbuild.model.fingerprint import FINGERPRINT_LENGTH

FINGERPRINT = "0123456789abcdef" * (FINGERPRINT_LENGTH // 16)
DIRECTORY = f"images/debian/{FINGERPRINT}"


@pytest.mark.parametrize(
    ("text", "table", "owner", "directory", "suffix"),
    [
        ("vms/web/root.cow", "vm", "vm.web", "vms/web", ".cow"),
        ("vms/web/root.upper.ext4", "vm", "vm.web", "vms/web", ".upper.ext4"),
        ("net/lan/up.sh", "network", "network.lan", "net/lan", ".sh"),
        (f"{DIRECTORY}/vmlinuz", "image", "image.debian", DIRECTORY, ""),
        (f"{DIRECTORY}/work-seed@16GiB.ext4", "image", "image.debian", DIRECTORY, ".ext4"),
    ],
)
def test_a_path_has_an_owner_a_directory_and_a_suffix(
    text: str, table: str, owner: str, directory: str, suffix: str
) -> None:
    path = ArtifactPath(text)
    assert (path.table, path.owner, path.directory, path.suffix) == (table, owner, directory, suffix)
    assert f"{path.directory}/{path.file}" == text


def test_a_path_is_put_together_from_its_parts() -> None:
    assert ArtifactPath.vm("web", "root.cow") == "vms/web/root.cow"
    assert ArtifactPath.network("lan", "up.sh") == "net/lan/up.sh"
    pattern = ArtifactPath.image("debian", "rootfs.ext4")
    assert (pattern, pattern.owner) == ("images/debian/{fingerprint}/rootfs.ext4", "image.debian")
    assert pattern.image_directory is None  # not before the fingerprint is known
    assert directory_of(StepId("vm.web")) == ArtifactPath.vm("web", "x").directory
    assert directory_of(StepId("image.debian")) == "images/debian"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "state.db",
        "vms",
        "vms/web",
        "vms/web/a/b",
        "vms/../x",
        "images/a/b/c",
        f"{DIRECTORY}/a/b",
        DIRECTORY,
    ],
)
def test_what_is_no_artifacts_path_has_no_owner(text: str) -> None:
    path = ArtifactPath(text)
    assert (path.table, path.owner, path.owner.name, path.image_directory) == ("", "", "", None)


@pytest.mark.parametrize("file", ["rootfs.ext4", "vmlinuz"])
def test_the_artifacts_of_an_image_lie_in_one_directory(file: str) -> None:
    assert ArtifactPath(f"{DIRECTORY}/{file}").image_directory == DIRECTORY
    assert is_image_directory(DIRECTORY)


@pytest.mark.parametrize(
    "path", ["images/debian/notes", "images/debian", f"{DIRECTORY}/a", f"{DIRECTORY}\n", f"{DIRECTORY[:-1]}"]
)
def test_no_other_directory_is_an_images(path: str) -> None:
    assert not is_image_directory(path)
    assert ArtifactPath(f"{path}/file").image_directory is None


def test_a_text_names_the_directories_that_it_has_paths_in() -> None:
    other = f"images/a-1/{FINGERPRINT[::-1]}"
    no_directory = f"{DIRECTORY} images/b/{FINGERPRINT[1:]}/c"
    text = f"exec qemu -kernel ../../{DIRECTORY}/vmlinuz\xff 'x {other}/b' {no_directory}"
    assert named_image_directories(text.encode("latin-1")) == {DIRECTORY, other}


def test_a_path_is_text_for_dicts_json_and_other_processes() -> None:
    path = ArtifactPath.vm("web", "root.cow")
    assert {"vms/web/root.cow": 1}[path] == 1
    assert json.dumps([path]) == '["vms/web/root.cow"]'
    assert pickle.loads(pickle.dumps(path)) == path  # noqa: S301  # it was dumped on this line


@pytest.mark.parametrize(
    "path",
    [
        "vms/web/root.cow",
        f"images/debian/{FINGERPRINT}/work-seed@16GiB.ext4",
        "vms/web/..data.ext4",
        "vms/web/.hidden",
        "vms/web/a b",
    ],
)
def test_the_path_of_an_artifact_is_taken_as_it_is(path: str) -> None:
    assert ArtifactPath.checked(path) == path


@pytest.mark.parametrize("value", [None, 1, b"vms/web/root.cow", ["vms/web/root.cow"], "vms/" + "a" * 2000])
def test_what_is_no_such_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"artifact"):
        ArtifactPath.checked(value)


@given(st.lists(st.sampled_from(["", ".", "..", "vms", "a", ".locks", "state.db", "\0", "\ud800", "~"])))
def test_a_path_that_is_taken_stays_below_where_it_begins(parts: list[str]) -> None:
    path = "/".join(parts)
    try:
        taken = ArtifactPath.checked(path)
    except ValueError:
        return
    assert not {"", ".", "..", "\0", "\ud800"} & set(taken.split("/"))
    assert parts[0] not in {".locks", "state.db"}
