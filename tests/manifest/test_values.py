"""Single values: what each stands for, and that any other is refused rather than guessed at."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk.formats import FORMATS
from bangerbuild.errors import exact_size
from bangerbuild.manifest import parse_size, schema, values
from bangerbuild.manifest.problems import InvalidValueError
from bangerbuild.manifest.values import (
    BLOCK_BYTES,
    MIN_DISK_BYTES,
    default_tap,
    disk_size,
    guest_path,
    host_path,
    hostname,
    is_below,
    mount_target,
)
from bangerbuild.model.content import HostPath

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SIZE_PATTERN = schema()["$defs"]["size"]["pattern"]


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [
        ("512MiB", 512 << 20),
        ("2GiB", 2 << 30),
        ("10G", 10 << 30),
        ("1K", 1024),
        ("3TiB", 3 << 40),
        (4096, 4096),
    ],
)
def test_a_size_is_1024_based(size: str | int, size_bytes: int) -> None:
    assert parse_size(size) == size_bytes


@pytest.mark.parametrize(
    "size", ["", "2", "2 GiB", "2gib", "1.5G", "2GB", "-1G", "0G", "+1G", "٣G", 0, -1, "2G\n"]
)
def test_what_is_no_size_is_refused(size: str | int) -> None:
    with pytest.raises(InvalidValueError, match="is no size"):
        parse_size(size)


@given(number=st.integers(1, 2**20), unit=st.sampled_from("KMGT"), suffix=st.sampled_from(["", "iB"]))
def test_any_number_and_unit_are_a_size_up_to_1_eib(number: int, unit: str, suffix: str) -> None:
    assert parse_size(f"{number}{unit}{suffix}") == number * UNITS[unit]


@given(st.from_regex(SIZE_PATTERN, fullmatch=True))
def test_every_size_of_the_schema_is_read_or_too_large(text: str) -> None:
    number, unit = int(text.rstrip("KMGTiB")), text.removesuffix("iB")[-1]
    if number * UNITS[unit] <= 2**60:
        assert parse_size(text) == number * UNITS[unit]
    else:
        with pytest.raises(InvalidValueError, match="is more than any disk holds"):
            parse_size(text)


@given(st.text(max_size=8))
def test_no_other_text_is_a_size(text: str) -> None:
    if not re.fullmatch(SIZE_PATTERN, text) or text.endswith("\n"):
        with pytest.raises(InvalidValueError):
            parse_size(text)


@given(st.integers(1, 2**40), st.sampled_from([1, *UNITS.values()]))
def test_a_size_is_shown_as_a_manifest_would_give_it(number: int, unit: int) -> None:
    size_bytes = min(number * unit, 2**60)
    text = exact_size(size_bytes)
    assert parse_size(int(text) if text.isdigit() else text) == size_bytes


@given(st.integers(MIN_DISK_BYTES, 2**59))
def test_a_disk_of_whole_blocks_is_taken_and_of_any_other_the_nearest_is_named(size_bytes: int) -> None:
    if size_bytes % BLOCK_BYTES == 0:
        assert disk_size(size_bytes) == size_bytes
        return
    with pytest.raises(InvalidValueError, match="not a multiple of 4096") as caught:
        disk_size(size_bytes)
    nearest = int((caught.value.hint or "").removeprefix("the nearest is "))
    assert disk_size(nearest) == nearest
    assert abs(nearest - size_bytes) <= BLOCK_BYTES // 2


@pytest.mark.parametrize("size", [4096, "15MiB", MIN_DISK_BYTES - 1])
def test_a_disk_that_ext4_has_no_room_on_is_refused(size: str | int) -> None:
    with pytest.raises(InvalidValueError, match="too small a disk"):
        disk_size(size)


def test_a_root_larger_than_its_format_can_have_is_refused() -> None:
    rule = FORMATS["qcow2"].size
    assert disk_size("8TiB", rule) == 8 << 40
    with pytest.raises(InvalidValueError, match="more than a root of this format can have") as caught:
        disk_size((8 << 40) + 4096, rule)
    assert caught.value.hint == "give at most 8TiB, or take another root.format"
    assert disk_size("9TiB", FORMATS["raw"].size) == 9 << 40


@pytest.mark.parametrize(
    ("text", "path"),
    [("/etc/x", "/etc/x"), ("~/x", "/root/x"), ("~", "/root"), ("/a b/~", "/a b/~"), ("/..x/.y", "/..x/.y")],
)
def test_a_guest_path_is_absolute_and_its_tilde_is_root(text: str, path: str) -> None:
    assert guest_path(text) == path


@given(st.text(alphabet="/.~ab\0\n", max_size=12))
def test_a_guest_path_that_is_taken_has_only_plain_components(text: str) -> None:
    try:
        path = guest_path(text)
    except InvalidValueError:
        return
    assert path.startswith("/")
    assert not {"", ".", ".."} & set(path[1:].split("/"))
    assert "\0" not in path


def test_the_root_itself_may_be_mounted_but_is_no_file() -> None:
    assert mount_target("/") == "/"
    with pytest.raises(InvalidValueError):
        guest_path("/")


@pytest.mark.parametrize(
    ("path", "directory", "below"),
    [
        ("/run", "/run", True),
        ("/run/x", "/run", True),
        ("/runx", "/run", False),
        ("/a", "/", True),
        ("/", "/a", False),
    ],
)
def test_a_path_is_below_a_directory_by_whole_components(path: str, directory: str, *, below: bool) -> None:
    assert is_below(path, directory) is below


@pytest.mark.parametrize("name", ["a", "web", "WEB-1", "1.2.3", "a" * 63, ".".join(["a" * 49] * 5) + ".abc"])
def test_a_host_name_of_rfc_1123_is_taken(name: str) -> None:
    assert hostname(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "-a", "a-", "a_b", "a b", "é", "a\n", "a" * 64, "a." * 126 + "ab"]
)
def test_any_other_host_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError):
        hostname(name)


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True))
def test_the_name_of_a_tap_device_is_never_too_long_and_hardly_that_of_another_vm(name: str) -> None:
    tap = default_tap(name)
    assert len(tap) <= 15
    assert re.fullmatch(rf"tap-{name}" if len(name) <= 11 else r"tap-[0-9a-f]{11}", tap)


def test_a_long_name_of_a_tap_device_is_made_of_the_vms_name() -> None:
    digest = hashlib.sha256(b"runner-000001").hexdigest()
    assert default_tap("runner-000001") == f"tap-{digest[:11]}"


def test_a_host_path_keeps_what_was_written_and_its_own_dots() -> None:
    path = host_path("../a", Path("/x/y"))
    assert (path.path, path.written) == (Path("/x/y/../a"), "../a")


def test_who_has_no_key_yet_is_told_what_makes_one(tmp_path: Path) -> None:
    for written, hint in (("~/.ssh/id_ed25519.pub", values.KEY_HINT), ("~/key.pub", values.RELATIVE_HINT)):
        missing = HostPath(tmp_path / "gone", written)
        message, told = values._not_there(missing, FileNotFoundError())
        assert message == f"'{written}' is not there ({tmp_path}/gone)"
        assert told == hint
