"""Downloads against a real server: what cuts, lies, waits or says no, and what must come of it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import CacheError, FetchError, OfflineError, SourceError
from bangerbuild.fetch.cache import Blob, Cache
from bangerbuild.fetch.download import download
from tests import PROJECT
from tests.fetch.fetching import DATA, DIGEST, OTHER, QUICK, assert_is, fetch
from tests.fetch.memory import PRINT_PEAK_KIB
from tests.fetch.server import (
    after,
    chunked,
    endless,
    file,
    status,
)
from tests.unprivileged import run_unprivileged
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fetch.server import Server


# a server that does its work


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_a_file_is_fetched_once_and_kept_by_its_digest(web: Server, cache: Cache, sha256: str | None) -> None:
    url = web.says(file(DATA, {"ETag": '"1"'}))
    assert_is(fetch(url, cache, sha256), DATA, cache)
    assert len(web.asked) == 1


def test_a_pinned_file_that_is_in_the_cache_asks_nobody(web: Server, cache: Cache) -> None:
    fetch(web.says(file(DATA)), cache)
    assert_is(fetch("http://nowhere.invalid/other", cache), DATA, cache)
    assert_is(fetch("http://nowhere.invalid/other", cache, offline=True), DATA, cache)
    assert len(web.asked) == 1


@pytest.mark.parametrize("validator", [{"ETag": '"1"'}, {"ETag": 'W/"1"'}])
def test_a_file_that_is_not_pinned_is_asked_for_again_but_not_sent(
    web: Server, cache: Cache, validator: dict[str, str]
) -> None:
    url = web.says(file(DATA, validator))
    first = fetch(url, cache, None)
    web.says(status(304))
    assert fetch(url, cache, None) == first
    assert web.asked[1].headers["If-None-Match"] == validator["ETag"]


def test_a_server_without_tags_is_asked_by_time(web: Server, cache: Cache) -> None:
    when = "Sat, 01 Jan 2000 00:00:00 GMT"
    url = web.says(file(DATA, {"Last-Modified": when}), status(304))
    first = fetch(url, cache, None)
    assert fetch(url, cache, None) == first
    assert web.asked[1].headers["If-Modified-Since"] == when


def test_a_time_that_is_not_a_second_past_tells_no_versions_apart(web: Server, cache: Cache) -> None:
    """The file may have changed in the rest of that second, with the same time to its name."""
    when = "Sat, 01 Jan 2000 00:00:00 GMT"
    told = {"Date": when, "Last-Modified": when}
    url = web.says(file(DATA, told), file(OTHER, told))
    fetch(url, cache, None)
    assert_is(fetch(url, cache, None), OTHER, cache)
    assert "If-Modified-Since" not in web.asked[1].headers


def test_a_file_that_changed_is_sent_anew_where_nothing_pins_it(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, {"ETag": '"1"'}), file(OTHER, {"ETag": '"2"'}))
    fetch(url, cache, None)
    assert_is(fetch(url, cache, None), OTHER, cache)


def test_a_file_is_sent_anew_when_the_cache_has_lost_it(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, {"ETag": '"1"'}))
    fetch(url, cache, None).path.unlink()
    assert_is(fetch(url, cache, None), DATA, cache)
    assert "If-None-Match" not in web.asked[1].headers


def test_a_blob_that_was_damaged_is_fetched_again(web: Server, tmp_path: Path) -> None:
    url = web.says(file(DATA))
    with Cache(tmp_path / "cache") as cache, fetch(url, cache).path.open("r+b") as damaged:
        damaged.write(b"X")
    with Cache(tmp_path / "cache") as cache:
        assert_is(fetch(url, cache), DATA, cache)


def test_an_empty_file_is_a_file(web: Server, cache: Cache) -> None:
    assert_is(fetch(web.says(file(b"")), cache, None), b"", cache)


def test_progress_goes_from_nothing_to_all(web: Server, cache: Cache) -> None:
    told: list[tuple[int, int | None]] = []
    download(
        web.says(file(DATA)),
        sha256=None,
        cache=cache,
        progress=lambda done, total: told.append((done, total)),
        policy=QUICK,
    )
    assert told[0] == (0, len(DATA))
    assert told[-1] == (len(DATA), len(DATA))
    assert told == sorted(told)


@pytest.mark.parametrize("answer", [chunked(DATA[:300], DATA[300:]), endless(DATA)])
def test_a_body_without_a_length_is_taken_to_its_end(web: Server, cache: Cache, answer: object) -> None:
    told: list[int | None] = []
    url = web.says(answer)  # type: ignore[arg-type]  # pytest's parameters have no type
    blob = download(url, sha256=DIGEST, cache=cache, progress=lambda _, total: told.append(total))
    assert_is(blob, DATA, cache)
    assert set(told) == {None}


def test_a_compressed_file_stays_compressed_whatever_its_server_calls_it(web: Server, cache: Cache) -> None:
    assert_is(fetch(web.says(file(DATA, {"Content-Encoding": "gzip"})), cache), DATA, cache)
    assert web.asked[0].headers["Accept-Encoding"] == "identity"


# addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file",
        "/etc/passwd",
        "ftp://host/file",
        "http://",
        "http:///file",
        "https://host:port/file",
        "http://host:99999/file",
        "http://[::1/file",
        "file://other/etc/passwd",
        "file:relative",
        "HTTP:/x",
    ],
)
def test_what_is_no_address_is_refused(url: str, cache: Cache) -> None:
    with pytest.raises(FetchError, match="is no address that can be fetched") as caught:
        fetch(url, cache, None)
    assert caught.value.hint is not None


# files of the host


def test_a_file_of_the_host_is_read_where_it_lies(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "a file%.tar"
    path.write_bytes(DATA)
    for url in (path.as_uri(), path.as_uri().replace("file://", "file://localhost")):
        assert fetch(url, cache, None, offline=True) == Blob(DIGEST, path, len(DATA))
    assert not cache.path.exists()


def test_a_file_of_the_host_that_is_not_the_pinned_one_is_refused(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OTHER)
    with pytest.raises(FetchError, match="is not what it must be"):
        fetch((tmp_path / "file").as_uri(), cache)


def test_what_is_no_file_of_the_host_is_refused(cache: Cache, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, why in (("missing", "is not there"), (".", "is a directory"), ("fifo", "is no regular file")):
        with pytest.raises(SourceError, match=why):
            fetch(f"{tmp_path.as_uri()}/{name}", cache)


# offline


def test_offline_nobody_is_asked_and_what_is_missing_is_named(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA))
    for sha256 in (DIGEST, None):
        with pytest.raises(OfflineError, match=rf"'{url}' is not in the cache") as caught:
            fetch(url, cache, sha256, offline=True)
        assert caught.value.hint == "run it once without --offline"
    assert web.asked == []


def test_offline_an_address_stands_for_what_it_last_gave(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA))
    first = fetch(url, cache, None)
    assert fetch(url, cache, None, offline=True) == first
    assert len(web.asked) == 1


# many at once, and ends


def test_two_threads_fetch_a_file_once(web: Server, cache: Cache) -> None:
    go, reached = threading.Event(), threading.Event()
    url = web.says(after(go, file(DATA), reached=reached))
    with ThreadPoolExecutor(4) as pool:
        fetches = [pool.submit(fetch, url, cache) for _ in range(4)]
        assert reached.wait(PATIENCE_SECONDS)
        go.set()
        assert len({blob.result() for blob in fetches}) == 1
    assert len(web.asked) == 1


SCRIPT = """
import sys
from pathlib import Path
from bangerbuild.fetch.cache import Cache
from bangerbuild.fetch.download import download
url, sha256, path = sys.argv[1:]
with Cache(Path(path)) as cache:
    print("ready", flush=True)
    print(download(url, sha256=sha256, cache=cache).digest, flush=True)
"""


def start(url: str, cache: Cache) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, DIGEST, str(cache.path)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_many_processes_fetch_a_file_once(web: Server, cache: Cache) -> None:
    go, reached = threading.Event(), threading.Event()
    url = web.says(after(go, file(DATA), reached=reached))
    processes = [start(url, cache) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert reached.wait(PATIENCE_SECONDS)
    go.set()
    assert [process.communicate()[0] for process in processes] == [f"{DIGEST}\n"] * 4
    assert len(web.asked) == 1
    assert_is(fetch(url, cache), DATA, cache)


def test_a_killed_download_is_gone_on_with(web: Server, cache: Cache) -> None:
    go, reached = threading.Event(), threading.Event()
    url = web.says(file(DATA, cut=500_000), after(go, file(DATA), reached=reached), file(DATA))
    process = start(url, cache)
    assert reached.wait(PATIENCE_SECONDS)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    go.set()
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges == [None, "bytes=500000-", "bytes=500000-"]


def test_a_download_takes_little_memory(web: Server, cache: Cache) -> None:
    large = bytes(200 << 20)
    url = web.says(file(large))
    script = SCRIPT.replace("sha256=sha256", "sha256=None") + PRINT_PEAK_KIB
    done = subprocess.run(
        [sys.executable, "-c", script, url, "", str(cache.path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[-1]) < 80 << 10


def test_a_full_disk_is_told_and_emptied(web: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(FetchError, match=r"can't be kept in .*: file too large") as caught:
            fetch(web.says(file(DATA)), cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.hint is not None
    assert list(cache.drafts.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(web: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    command = [sys.executable, "-c", SCRIPT, web.says(file(DATA)), DIGEST, str(tmp_path / "some" / "cache")]
    (tmp_path / "some").mkdir(mode=0o555)
    done = run_unprivileged(command, cwd=tmp_path)
    brief = f"'{tmp_path}/some/cache' of the cache can't be written: permission denied"
    assert done.stderr.splitlines()[-1] == f"bangerbuild.errors.CacheError: {brief}"
    assert web.asked == []


def test_a_cache_that_is_no_directory_is_named(web: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="of the cache can't be read: not a directory") as caught:
        fetch(web.says(file(DATA)), Cache(tmp_path / "file" / "cache"))
    assert caught.value.hint is not None
    assert "XDG_CACHE_HOME" in caught.value.hint
