"""Host files: opened, read and noted; what can't be had is told by the name that the manifest gives it."""

from __future__ import annotations

import errno
import io
import os
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import SourceError
from bangerbuild.formats.hostfile import (
    HostContent,
    check_is_file,
    data_extents,
    identity,
    opened_file,
    stat_of,
    unreadable,
)
from bangerbuild.host import observed

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def content_of(path: Path) -> HostContent:
    """The data of a file as it is now."""
    return HostContent(partial(os.open, path), identity(path.stat()), "it")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # their number is all that counts


@pytest.mark.parametrize(
    ("number", "brief", "has_hint"),
    [
        (errno.ENOENT, "'it' vanished or was replaced while it was read", True),
        (errno.ELOOP, "'it' vanished or was replaced while it was read", True),
        (errno.EACCES, "'it' can't be read: permission denied", True),
        (errno.EIO, "'it' can't be read: input/output error", False),
    ],
)
def test_each_refusal_of_the_system_has_its_words(number: int, brief: str, *, has_hint: bool) -> None:
    error = unreadable(OSError(number, "…"), "it")
    assert (error.brief, error.hint is not None) == (brief, has_hint)


def test_a_file_behind_a_symlink_is_opened_at_its_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with opened_file(tmp_path / "link", "it") as file:
        assert file.read() == b"content"


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, brief in (
        ("missing", "'it' is not there"),
        (".", "'it' is a directory"),
        ("fifo", "'it' is no regular file"),
    ):
        with pytest.raises(SourceError) as caught, opened_file(tmp_path / name, "it", directory_hint="try x"):
            pass
        assert (caught.value.brief, caught.value.hint) == (brief, "try x" if name == "." else None)


def test_what_is_looked_at_is_noted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    seen = observed.Observations(lambda found: found.st_size)
    with seen.recording():
        assert check_is_file(tmp_path / "file", "it").st_size == 5
        stat_of(tmp_path, "it")
    assert seen.followed.keys() == {str(tmp_path / "file"), str(tmp_path)}
    assert seen.followed[str(tmp_path / "file")] == 5


def test_a_file_is_opened_at_the_first_read_and_let_go_of_after_the_last(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    before = descriptors()
    content = content_of(tmp_path / "file")
    assert descriptors() == before
    assert content.read(3) == b"con"
    assert descriptors() == before + 1
    assert (content.read(), content.read()) == (b"tent", b"")
    assert descriptors() == before


def test_a_file_that_is_closed_early_is_let_go_of_and_read_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    before = descriptors()
    content = content_of(tmp_path / "file")
    content.read(1)
    content.close()
    assert descriptors() == before
    with pytest.raises(ValueError, match="the walk has gone on"):
        content.read()


def test_it_can_be_read_from_the_start_again_and_from_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    content = content_of(tmp_path / "file")
    content.read()
    assert (content.seek(0), content.read()) == (0, b"content")
    for offset, whence in ((1, os.SEEK_SET), (0, os.SEEK_END)):
        with pytest.raises(ValueError, match="only the start"):
            content.seek(offset, whence)


def test_it_is_a_file_that_others_can_buffer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\nb\n")
    assert io.BufferedReader(content_of(tmp_path / "file")).readlines() == [b"a\n", b"b\n"]


@pytest.mark.parametrize("change", ["longer", "shorter", "replaced"])
def test_a_file_that_is_not_what_it_was_is_never_passed_off_as_it(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    content = content_of(path)
    if change == "replaced":
        path.rename(tmp_path / "old")
    path.write_bytes({"longer": b"content!", "shorter": b"con"}.get(change, b"CONTENT"))
    with pytest.raises(SourceError, match="'it' changed while it was read"):
        content.read()


def test_an_empty_file_is_not_even_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    content = content_of(tmp_path / "file")
    (tmp_path / "file").unlink()
    assert content.read() == b""


def test_a_symlink_in_its_place_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    content = content_of(path)
    path.rename(tmp_path / "moved")
    path.symlink_to("moved")
    with pytest.raises(SourceError, match="vanished or was replaced"):
        content.read()


def test_holes_are_left_out_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(8 * MIB)
        for at in (MIB, 4 * MIB):
            file.seek(at)
            file.write(b"x" * 4096)
    content = content_of(path)
    extents = content.skip_holes()
    if extents == ((0, 8 * MIB),):
        pytest.skip("this filesystem can't tell holes")
    assert extents == ((MIB, 4096), (4 * MIB, 4096))
    assert content.read() == b"x" * 8192


def test_where_nothing_is_data_there_is_no_run(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        file.truncate(MIB)
        assert data_extents(file.fileno(), MIB) in {(), ((0, MIB),)}


def test_where_holes_can_not_be_told_all_is_data() -> None:
    reader, writer = os.pipe()
    try:
        assert data_extents(reader, 10) == ((0, 10),)
    finally:
        os.close(reader)
        os.close(writer)


@given(sizes=st.lists(st.integers(0, 40), max_size=8), data=st.binary(max_size=100))
def test_any_way_of_reading_gives_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: bytes
) -> None:
    path = tmp_path_factory.mktemp("read") / "file"
    path.write_bytes(data)
    content, judge = content_of(path), io.BytesIO(data)
    for size in sizes:
        assert content.read(size) == judge.read(size)
    assert content.read(-1) == judge.read()
