"""The cache: what is put in comes out whole or not at all, whoever else is at work on it."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import CacheError
from bangerbuild.fetch import cache as caches
from bangerbuild.fetch.cache import Cache, Removed, Usage, default_path
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

DATA = os.urandom(10_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
BLOCKS = 12_288
"""What 10,000 bytes take on a disk of 4 KiB blocks."""


def put(cache: Cache, data: bytes = DATA, key: str = "key") -> caches.Blob:
    with cache.draft(key) as draft:
        draft.file.write(data)
        return draft.publish(draft.digest())


def put_old(cache: Cache, data: bytes, used: int) -> Path:
    path = put(cache, data).path
    os.utime(path, (used, used))
    return path


# where it is


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/bangerbuild"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/var/cache/me"}, "/var/cache/me/bangerbuild"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": ""}, "/home/me/.cache/bangerbuild"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "relative"}, "/home/me/.cache/bangerbuild"),
    ],
)
def test_the_cache_is_where_the_xdg_specification_has_it(environ: dict[str, str], path: str) -> None:
    assert default_path(environ) == Path(path)


def test_a_user_without_a_home_is_told_how_to_name_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(CacheError, match="no home directory") as caught:
        default_path({})
    assert caught.value.hint is not None


def test_nothing_is_made_by_looking(cache: Cache) -> None:
    assert cache.get(DIGEST) is None
    assert not cache.has(DIGEST)
    assert cache.usage() == Usage(0, 0)
    assert cache.bound(0) == Removed(0, 0, 0)
    assert not cache.path.exists()


def test_it_is_its_users_alone_and_marked_as_a_cache(cache: Cache) -> None:
    before = os.umask(0)
    try:
        blob = put(cache)
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(blob.path.stat().st_mode) == 0o600
    assert (
        (cache.path / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    )


# in and out


def test_what_was_put_in_comes_out(cache: Cache) -> None:
    blob = put(cache)
    assert blob == cache.get(DIGEST) == caches.Blob(DIGEST, cache.path / "blobs" / "sha256" / DIGEST, 10_000)
    assert cache.has(DIGEST)
    assert list(cache.drafts.iterdir()) == []


def test_others_find_what_was_put_in(cache: Cache) -> None:
    put(cache)
    with Cache(cache.path) as other:
        assert other.get(DIGEST) is not None


def test_what_others_put_there_under_its_digest_is_a_blob(cache: Cache) -> None:
    cache.blobs.mkdir(parents=True)
    (cache.blobs / DIGEST).write_bytes(DATA)
    assert cache.get(DIGEST) is not None


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA + b"0", b"0" + DATA[1:]])
def test_a_blob_with_other_bytes_is_none_and_goes(cache: Cache, damage: bytes) -> None:
    put(cache).path.write_bytes(damage)
    with Cache(cache.path) as other:
        assert other.get(DIGEST) is None
        assert not other.has(DIGEST)


def test_a_blob_that_somebody_deleted_is_put_in_again(cache: Cache) -> None:
    put(cache).path.unlink()
    assert cache.get(DIGEST) is None
    assert put(cache) == cache.get(DIGEST)


@pytest.mark.parametrize("kind", ["directory", "symlink"])
def test_what_is_no_file_is_named(cache: Cache, kind: str) -> None:
    cache.blobs.mkdir(parents=True)
    if kind == "directory":
        (cache.blobs / DIGEST).mkdir()
    else:
        (cache.blobs / DIGEST).symlink_to("/etc/passwd")
    with pytest.raises(CacheError, match=rf"'{cache.blobs}/{DIGEST}' of the cache can't be read"):
        cache.get(DIGEST)


def test_a_draft_is_gone_on_with(cache: Cache) -> None:
    with cache.draft("key") as draft:
        draft.file.write(DATA[:6000])
    with Cache(cache.path) as other, other.draft("key") as draft:
        assert draft.file.read() == DATA[:6000]
        draft.file.write(DATA[6000:])
        assert draft.publish(draft.digest()).digest == DIGEST


def test_an_exception_leaves_the_draft(cache: Cache) -> None:
    with pytest.raises(FileExistsError), cache.draft("key") as draft:  # noqa: PT012  # what is left is tested
        draft.file.write(DATA)
        (cache.path / "drafts").mkdir()
    assert (cache.drafts / "key").read_bytes() == DATA
    assert not any(cache.blobs.iterdir())


def test_a_draft_that_is_empty_or_discarded_is_not_left(cache: Cache) -> None:
    with cache.draft("key"):
        pass
    with cache.draft("other") as draft:
        draft.file.write(DATA)
        draft.discard()
    assert list(cache.drafts.iterdir()) == []


def test_publishing_what_is_there_already_is_fine(cache: Cache) -> None:
    with Cache(cache.path) as other:
        first = put(cache)
        with first.path.open("rb") as reading:
            assert put(other) == first
            assert reading.read() == DATA
        assert other.get(DIGEST) == cache.get(DIGEST) == first


# several at once


def test_two_drafts_of_one_key_come_one_after_the_other(cache: Cache) -> None:
    order = []

    def second() -> None:
        with Cache(cache.path) as other, other.draft("key") as draft:
            order.append("second")
            order.append("found" if other.get(DIGEST) else "made")
            draft.discard()

    with cache.draft("key") as draft:
        thread = threading.Thread(target=second)
        thread.start()
        draft.file.write(DATA)
        order.append("first")
        draft.publish(DIGEST)
    thread.join(PATIENCE_SECONDS)
    assert order == ["first", "second", "found"]
    assert list(cache.drafts.iterdir()) == []


def test_who_waits_for_a_draft_need_not_wait_until_its_reader_ends(cache: Cache) -> None:
    """The blob is the same file and stays locked for its reader."""
    put(cache)
    with Cache(cache.path) as other, other.draft("key"):
        assert cache.get(DIGEST) is not None


def _put_many(path: Path, told: Connection) -> None:
    with Cache(path) as cache:
        digests = []
        for number in range(40):
            data = bytes([number % 10]) * 5000
            digest = hashlib.sha256(data).hexdigest()
            with cache.draft(str(number % 10)) as draft:
                if cache.get(digest) is None:
                    draft.file.write(data)
                    draft.publish(draft.digest())
            digests.append(digest)
            Cache(path).bound(20_000)
        told.send([digest for digest in digests if cache.get(digest) is None])


def test_many_processes_put_read_and_remove_at_once(cache: Cache) -> None:
    """Whoever has put something in, or got it, has it until it closes the cache."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(4)]
    processes = [context.Process(target=_put_many, args=(cache.path, told)) for _, told in pipes]
    for process in processes:
        process.start()
    for (asked, _), process in zip(pipes, processes, strict=True):
        assert asked.poll(120)
        assert asked.recv() == []
        process.join(60)
        assert process.exitcode == 0
    assert list(cache.drafts.iterdir()) == []
    assert cache.bound(0).remaining_bytes == 0


# bounds


def test_usage_counts_what_is_allocated_drafts_too(cache: Cache) -> None:
    put(cache)
    with cache.draft("key") as draft:
        draft.file.write(DATA)
    assert cache.usage() == Usage(2, 2 * BLOCKS)


def test_the_least_recently_used_goes_first(cache: Cache) -> None:
    with Cache(cache.path) as filling:
        old, new, newest = (put_old(filling, os.urandom(10_000), used) for used in (2000, 3000, 4000))
        with filling.draft("key") as draft:
            draft.file.write(DATA)
        os.utime(cache.drafts / "key", (1000, 1000))
    assert cache.surplus(2 * BLOCKS) == (cache.drafts / "key", old)
    assert cache.bound(2 * BLOCKS) == Removed(2, 2 * BLOCKS, 2 * BLOCKS)
    assert {path.name for path in cache.blobs.iterdir()} == {new.name, newest.name}


def test_use_makes_young(cache: Cache) -> None:
    with Cache(cache.path) as filling:
        old, new = (put_old(filling, data, used) for data, used in ((DATA, 2000), (b"new", 3000)))
    with Cache(cache.path) as using:
        assert using.get(DIGEST) is not None
    assert cache.surplus(BLOCKS) == (new,)
    assert old.stat().st_mtime > 3000


def test_a_cache_within_its_bound_loses_nothing(cache: Cache) -> None:
    put(cache)
    cache.close()
    assert cache.bound(BLOCKS) == Removed(0, 0, BLOCKS)
    assert cache.bound(BLOCKS - 1) == Removed(1, BLOCKS, 0)


def test_what_somebody_reads_or_writes_stays(cache: Cache) -> None:
    put(cache)
    with Cache(cache.path) as other:
        with cache.draft("draft") as draft:
            draft.file.write(DATA)
            assert other.bound(0) == Removed(0, 0, 2 * BLOCKS)
        assert other.get(DIGEST) is not None
        cache.close()
        assert cache.bound(0) == Removed(1, BLOCKS, BLOCKS)
    assert cache.bound(0) == Removed(1, BLOCKS, 0)


def test_what_cannot_be_removed_is_named(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache)
    cache.close()

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(
        CacheError, match=rf"'{cache.blobs}/{DIGEST}' of the cache can't be removed: read-only"
    ):
        cache.bound(0)
