from __future__ import annotations

import hashlib
import os
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.digest import DigestCache, file_digest, stat_key, tree_digest
from bangerbuild.formats.hostentry import TreeRules
from tests.formats.tarmaking import set_xattr
from tests.need import lacking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RULES = TreeRules()
HOUR_NS = 3600 * 10**9


class RecordingCache(DigestCache):
    """Remembers digests by what stat says, and which files it was asked for and told."""

    def __init__(self) -> None:
        self._digests: dict[tuple[int, ...], str] = {}
        self.asked: list[str] = []
        self.told: list[str] = []

    def get(self, path: str, found: os.stat_result) -> str | None:
        self.asked.append(path.rpartition("/")[2])
        return self._digests.get(stat_key(found))

    def put(self, path: str, found: os.stat_result, digest: str) -> None:
        self.told.append(path.rpartition("/")[2])
        self._digests[stat_key(found)] = digest


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock an hour on, so that what was just written has settled."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + HOUR_NS)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "sub/file").write_text("content")
    (top / "other").write_text("other")
    (top / "link").symlink_to("sub")
    return top


@pytest.mark.parametrize("size", [0, 7, 1 << 20, (3 << 20) + 1])
def test_a_files_digest_is_the_sha256_of_its_content(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "link").symlink_to("file")

    assert file_digest(tmp_path / "link") == hashlib.sha256(data).hexdigest()


def test_holes_count_as_zeros(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(3 << 20)
        os.pwrite(file.fileno(), b"x", 2 << 20)

    assert file_digest(tmp_path / "file") == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()


def test_what_is_no_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a directory"):
        file_digest(tmp_path)


def test_a_tree_has_the_same_digest_wherever_and_whenever_it_lies(top: Path, tmp_path: Path) -> None:
    shutil.copytree(top, tmp_path / "copy", symlinks=True)
    os.utime(tmp_path / "copy/other", (1, 1))

    assert tree_digest(top, RULES) == tree_digest(tmp_path / "copy", RULES)


def test_a_digest_reached_through_a_symlink_is_the_same(top: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to("top")

    assert tree_digest(top, RULES) == tree_digest(tmp_path / "here", RULES)


def relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("other")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda top: (top / "other").write_text("OTHER"),
    "name": lambda top: (top / "other").rename(top / "another"),
    "move": lambda top: (top / "other").rename(top / "sub/other"),
    "mode": lambda top: (top / "other").chmod(0o755),
    "mode of the top": lambda top: top.chmod(0o700),
    "new directory": lambda top: (top / "new").mkdir(),
    "hard link": lambda top: (top / "new").hardlink_to(top / "other"),
    "fifo": lambda top: os.mkfifo(top / "new"),
    "attribute": lambda top: set_xattr(top / "other", "user.x", b"y"),
    "symlink text": lambda top: relink(top / "link"),
    "symlink for a file": lambda top: relink(top / "other"),
    "removal": lambda top: (top / "link").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_is_taken_changes_the_digest(top: Path, change: str) -> None:
    before = tree_digest(top, RULES)

    CHANGES[change](top)

    assert tree_digest(top, RULES) != before


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ("content", replace(RULES, exclude=("other",))),
        ("mode", replace(RULES, file_mode=0o644)),
        ("attribute", replace(RULES, xattrs=False)),
        ("fifo", replace(RULES, specials=False)),
    ],
)
def test_a_change_of_what_is_not_taken_changes_nothing(top: Path, change: str, rules: TreeRules) -> None:
    (top / "other").chmod(0o644)
    before = tree_digest(top, rules)

    CHANGES[change](top)

    assert tree_digest(top, rules) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
@pytest.mark.root
def test_owners_count_only_where_they_are_kept(top: Path) -> None:
    plain, kept = tree_digest(top, RULES), tree_digest(top, TreeRules(keep_owner=True))

    os.chown(top / "other", 1234, 1234)

    assert tree_digest(top, RULES) == plain
    assert tree_digest(top, TreeRules(keep_owner=True)) != kept


def test_names_can_not_be_made_to_look_like_two_entries(tmp_path: Path) -> None:
    for name, files in (
        ("one", ['a", "file"', "b\n[", "c\udcff"]),
        ("two", ['a", "file"', "b\n[", "c\udcfe"]),
    ):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()

    assert tree_digest(tmp_path / "one", RULES) != tree_digest(tmp_path / "two", RULES)


def test_a_single_file_has_a_tree_digest_with_its_mode(top: Path) -> None:
    before = tree_digest(top / "other", RULES)
    (top / "other").chmod(0o600)

    assert tree_digest(top / "other", RULES) != before


def test_an_unchanged_file_is_read_once(top: Path, later: None) -> None:
    cache = RecordingCache()
    first = tree_digest(top, RULES, cache=cache)

    second = tree_digest(top, RULES, cache=cache)

    assert first == second
    assert cache.told == ["other", "file"]
    assert cache.asked == ["other", "file", "other", "file"]


def test_what_the_cache_says_of_the_same_stat_is_believed(top: Path, later: None) -> None:
    cache = RecordingCache()
    cache.put(str(top / "other"), (top / "other").stat(), "0" * 64)

    assert file_digest(top / "other", cache=cache) == "0" * 64


def test_a_file_that_was_only_touched_is_read_again_with_the_same_digest(top: Path, later: None) -> None:
    cache = RecordingCache()
    first = file_digest(top / "other", cache=cache)
    os.utime(top / "other", (1, 1))

    assert file_digest(top / "other", cache=cache) == first
    assert cache.told == ["other", "other"]


@pytest.mark.parametrize("age_ns", [-HOUR_NS, 0, 19_000_000])
def test_a_file_too_young_to_tell_is_kept_from_the_cache(
    top: Path, monkeypatch: pytest.MonkeyPatch, age_ns: int
) -> None:
    changed_ns = (top / "other").stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed_ns + age_ns)
    cache = RecordingCache()

    assert file_digest(top / "other", cache=cache) == hashlib.sha256(b"other").hexdigest()
    assert (cache.asked, cache.told) == ([], [])


def test_a_file_dated_in_the_future_is_kept_from_the_cache(top: Path, later: None) -> None:
    future_ns = time.time_ns() + HOUR_NS
    os.utime(top / "other", ns=(future_ns, future_ns))
    cache = RecordingCache()

    file_digest(top / "other", cache=cache)

    assert cache.told == []


def test_the_key_tells_apart_what_stat_tells_apart(top: Path) -> None:
    before = stat_key((top / "other").stat())
    (top / "other").chmod(0o600)

    assert len({before, stat_key((top / "other").stat()), stat_key((top / "sub/file").stat())}) == 3


@pytest.mark.parametrize("pieces", [[], [0], [5 << 20], [(20 << 20) - 4096], [0, 4096, 9 << 20, 13 << 20]])
def test_a_sparse_files_digest_is_that_of_the_zeros_in_its_holes(tmp_path: Path, pieces: list[int]) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(20 << 20)
        for place in pieces:
            os.pwrite(file.fileno(), b"data" * 1024, place)
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_holes_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 30)
        os.pwrite(file.fileno(), b"data" * 1024, 1 << 29)
    read, real = [], os.pread

    def counting(fd: int, length: int, offset: int) -> bytes:
        read.append(data := real(fd, length, offset))
        return data

    monkeypatch.setattr(os, "pread", counting)
    file_digest(path)
    if path.stat().st_blocks * 512 >= 1 << 30:
        lacking("the temporary directory's filesystem keeps no holes")
    assert sum(map(len, read)) < 1 << 20
