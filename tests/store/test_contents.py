from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from bangerbuild import store
from bangerbuild.disk import clone
from bangerbuild.errors import BusyError, StoreError
from bangerbuild.model import Recipe, Record
from bangerbuild.store import Staged, Store
from bangerbuild.store.publishing import Publication
from tests import PROJECT
from tests.unprivileged import run_unprivileged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOT = "vms/web/root.cow"
OTHER = "vms/db/root.cow"


def step_of(artifact: str) -> str:
    """The id of a step that makes nothing else."""
    return artifact.replace("/", "-")


def record(artifact: str, text: str) -> Record:
    """What a step that wrote this text remembers."""
    recipe = Recipe("fake", {"text": text}, {"image.a.rootfs": "f"}, {"role": "digest"}, {"tool": "1"})
    return Record(step_of(artifact), recipe, f"fingerprint of {text}", (artifact,), {"text": text})


def staged(opened: Store, texts: dict[str, str]) -> list[Staged]:
    """A finished job for each artifact."""
    jobs = []
    for artifact, text in texts.items():
        file = opened.stage() / "file"
        file.write_text(text)
        jobs.append(Staged((record(artifact, text),), {artifact: file}))
    return jobs


def publish(path: Path, texts: dict[str, str]) -> None:
    """One writer that publishes all of these at once."""
    with store.writing(path, timeout_seconds=0) as opened:
        opened.publish(staged(opened, texts))


def standing(opened: Store, artifact: str) -> str | None:
    """What the artifact holds; its record and stamp must say the same."""
    known = opened.records.get(step_of(artifact))
    if known is None:
        assert not opened.exists(artifact)
        return None
    text = (opened.path / artifact).read_text()
    assert known == record(artifact, text)
    assert not opened.modified(artifact)
    return text


def tree(path: Path) -> dict[str, tuple[int, int]]:
    """Every file below, with its size and mtime."""
    return {
        str(file.relative_to(path)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file()
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is to be; nothing is there yet."""
    return tmp_path / "build"


# opening


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_first_writer_makes_a_store_for_its_owner_alone(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with store.writing(path, timeout_seconds=0):
            pass
    finally:
        os.umask(before)
    modes = {name: (path / name).stat().st_mode & 0o777 for name in ("", ".staging", ".locks", "state.db")}
    assert modes == {"": 0o700, ".staging": 0o700, ".locks": 0o700, "state.db": 0o600}


def test_missing_directories_above_a_store_are_made(tmp_path: Path) -> None:
    publish(tmp_path / "a" / "b" / "build", {ROOT: "one"})
    assert standing(store.read(tmp_path / "a" / "b" / "build"), ROOT) == "one"


def test_a_store_that_is_not_there_reads_as_empty_and_stays_away(path: Path) -> None:
    opened = store.read(path)
    assert (opened.records, opened.stamps, opened.exists(ROOT)) == ({}, {}, False)
    assert not path.exists()


def test_a_directory_without_a_database_reads_as_empty_and_nothing_is_made_in_it(path: Path) -> None:
    path.mkdir()
    assert store.read(path).records == {}
    assert list(path.iterdir()) == []


def test_a_database_whose_maker_was_killed_at_once_reads_as_empty(path: Path) -> None:
    path.mkdir()
    (path / "state.db").touch()
    assert store.read(path).records == {}
    assert (path / "state.db").stat().st_size == 0
    publish(path, {ROOT: "one"})
    assert standing(store.read(path), ROOT) == "one"


def test_a_reader_leaves_nothing_behind_and_changes_nothing(path: Path) -> None:
    publish(path, {ROOT: "one"})
    before = tree(path)
    assert standing(store.read(path), ROOT) == "one"
    assert tree(path) == before
    assert not [name for name in before if name.endswith(("-wal", "-shm"))]


def test_a_reader_sees_what_a_writer_at_work_has_published(path: Path) -> None:
    with store.writing(path, timeout_seconds=0) as opened:
        opened.publish(staged(opened, {ROOT: "one"}))
        assert standing(store.read(path), ROOT) == "one"


def test_what_was_read_cannot_be_written(path: Path) -> None:
    publish(path, {ROOT: "one"})
    with pytest.raises(StoreError, match="was opened to be read"):
        store.read(path).publish([])


def test_a_store_of_another_format_is_refused_with_a_way_out(path: Path) -> None:
    publish(path, {ROOT: "one"})
    with contextlib.closing(sqlite3.connect(path / "state.db")) as database:
        database.execute("PRAGMA user_version = 99")
    for opening in (lambda: store.read(path), lambda: publish(path, {ROOT: "two"})):
        with pytest.raises(StoreError, match="has format 99, and this program reads format 2") as caught:
            opening()
        assert "--store DIR" in str(caught.value.hint)
    assert (path / ROOT).read_text() == "one"


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.mkdir()
    with contextlib.closing(sqlite3.connect(path / "state.db")) as database, database:
        database.execute("CREATE TABLE theirs (id)")
    for opening in (lambda: store.read(path), lambda: publish(path, {ROOT: "two"})):
        with pytest.raises(StoreError, match="has format 0"):
            opening()
    with contextlib.closing(sqlite3.connect(path / "state.db")) as database:
        assert database.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_a_damaged_database_is_one_plain_error_for_readers_and_writers(path: Path) -> None:
    publish(path, {ROOT: "one"})
    (path / "state.db").write_bytes(b"no database" * 1000)
    for opening in (lambda: store.read(path), lambda: publish(path, {ROOT: "two"})):
        with pytest.raises(StoreError, match=r"can't be used: state\.db: file is not a database"):
            opening()
    assert (path / ROOT).read_text() == "one"


def test_a_database_that_is_cut_short_is_one_plain_error(path: Path) -> None:
    publish(path, {f"vms/{number}/root.cow": "x" * 500 for number in range(50)})
    os.truncate(path / "state.db", 8192)
    with pytest.raises(StoreError, match=r"can't be used: state\.db"):
        store.read(path)


def test_a_file_where_the_store_should_be_is_one_plain_error(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(StoreError, match="build': file exists"):
        publish(path, {ROOT: "one"})
    assert path.read_text() == "mine"


PUBLISH = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from bangerbuild.errors import StoreError
from tests.store.test_contents import ROOT, publish
try:
    publish(Path(sys.argv[1]), {ROOT: "two"})
except StoreError as err:
    print(err.brief, "|", err.hint)
"""


def published_unprivileged(path: Path) -> str:
    done = run_unprivileged([sys.executable, "-c", PUBLISH, str(path)], cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_store_that_cannot_be_made_is_one_plain_error(path: Path) -> None:
    path.parent.chmod(0o555)
    said = published_unprivileged(path)
    path.parent.chmod(0o755)
    assert (
        said == f"'{path}': permission denied | choose another place: --store DIR, or `path` under [store]\n"
    )
    assert not path.exists()


@pytest.mark.parametrize("place", ["", ".staging", "vms/web"])
def test_a_store_that_cannot_be_written_is_one_plain_error_and_stays_as_it_is(path: Path, place: str) -> None:
    publish(path, {ROOT: "one"})
    (path / place).chmod(0o555)
    said = published_unprivileged(path)
    (path / place).chmod(0o755)
    assert "choose another place" in said or "check that it can be written" in said
    assert standing(store.read(path), ROOT) == "one"
    publish(path, {ROOT: "three"})
    assert standing(store.read(path), ROOT) == "three"


# publishing


def test_an_artifact_is_published_with_its_record_and_its_stamp(path: Path) -> None:
    publish(path, {ROOT: "one", OTHER: "two"})
    opened = store.read(path)
    assert {name: standing(opened, name) for name in (ROOT, OTHER)} == {ROOT: "one", OTHER: "two"}
    assert opened.stamps[ROOT].digest == clone.digest(path / ROOT)
    assert list((path / ".staging").iterdir()) == []


def test_a_later_publication_takes_the_place_of_an_earlier_one(path: Path) -> None:
    publish(path, {ROOT: "one", OTHER: "two"})
    publish(path, {ROOT: "three"})
    opened = store.read(path)
    assert {name: standing(opened, name) for name in (ROOT, OTHER)} == {ROOT: "three", OTHER: "two"}


def test_a_program_that_has_the_old_artifact_open_keeps_it(path: Path) -> None:
    publish(path, {ROOT: "one"})
    with (path / ROOT).open() as running:
        publish(path, {ROOT: "two"})
        assert running.read() == "one"


@pytest.mark.parametrize("mode", [0o444, 0o600])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_an_artifact_keeps_the_mode_its_step_gave_it(path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        with store.writing(path, timeout_seconds=0) as opened:
            jobs = staged(opened, {ROOT: "one"})
            jobs[0].files[ROOT].chmod(mode)
            opened.publish(jobs)
    finally:
        os.umask(before)
    assert (path / ROOT).stat().st_mode & 0o777 == mode


def test_many_artifacts_are_published_at_once(path: Path) -> None:
    texts = {f"vms/{number}/root.cow": f"text {number}" for number in range(100)}
    publish(path, texts)
    opened = store.read(path)
    assert {name: standing(opened, name) for name in texts} == texts


def test_digests_of_host_files_are_remembered(path: Path) -> None:
    with store.writing(path, timeout_seconds=0) as opened:
        opened.put("1:2", "stamp", "digest")
        opened.publish(staged(opened, {ROOT: "one"}))
        opened.put("1:3", "stamp", "late")
    reread = store.read(path)
    assert (reread.get("1:2", "stamp"), reread.get("1:3", "stamp")) == ("digest", "late")
    assert reread.get("1:2", "another stamp") is None
    assert reread.get("1:4", "stamp") is None


def test_a_digest_that_is_put_while_digests_are_written_is_not_lost(path: Path) -> None:
    with store.writing(path, timeout_seconds=0) as opened:
        opened.put("1:1", "stamp", "early")

        def put_late(statement: str) -> None:
            if statement.startswith("INSERT OR REPLACE INTO digests"):
                opened.put("1:2", "stamp", "late")

        assert opened._database is not None
        opened._database.set_trace_callback(put_late)
        opened.publish(staged(opened, {ROOT: "one"}))
        opened._database.set_trace_callback(None)
    reread = store.read(path)
    assert (reread.get("1:1", "stamp"), reread.get("1:2", "stamp")) == ("early", "late")


# being killed

BOUNDARIES: dict[str, tuple[str, bool]] = {
    "before the intents are written": ("bangerbuild.store.Store._write_intents", False),
    "before the renames": ("bangerbuild.store.Store._rename", False),
    "before the first rename": ("os.rename", False),
    "after the renames": ("bangerbuild.store.Store._confirm", True),
    "before the records are written": ("bangerbuild.store.database.write_records", True),
    "before the stamps are written": ("bangerbuild.store.database.write_stamps", True),
    "before the confirmation is committed": ("bangerbuild.store.Store._write_digests", True),
}
"""The function at whose call the writer dies, and whether the new artifacts hold then."""

DIE = """
import os, pkgutil, sys
from pathlib import Path
from unittest import mock
from tests.store.test_contents import publish
path, function, skip, *texts = sys.argv[1:]
calls = []
def die(*arguments, **named):
    calls.append(arguments)
    if len(calls) <= int(skip):
        return real(*arguments, **named)
    os._exit(9)
module, _, name = function.rpartition(".")
real = getattr(pkgutil.resolve_name(module), name)
with mock.patch(function, die):
    publish(Path(path), dict(text.split("=") for text in texts))
"""


def publish_and_die(path: Path, function: str, texts: dict[str, str], *, skip: int = 0) -> None:
    """A writer in a process of its own that ends without a chance to tidy up where it calls the function."""
    arguments = [str(path), function, str(skip), *(f"{name}={text}" for name, text in texts.items())]
    done = subprocess.run(
        [sys.executable, "-c", DIE, *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr


def assert_settled(path: Path, texts: dict[str, str | None]) -> None:
    """A reader, the next writer, and a reader after it find the same, each artifact with a fitting record."""
    assert {name: standing(store.read(path), name) for name in texts} == texts
    with store.writing(path, timeout_seconds=0) as opened:
        assert {name: standing(opened, name) for name in texts} == texts
        assert list((path / ".staging").iterdir()) == []
    with contextlib.closing(sqlite3.connect(path / "state.db")) as database:
        assert database.execute("SELECT count(*) FROM intents").fetchone() == (0,)
    assert {name: standing(store.read(path), name) for name in texts} == texts


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("old", [None, "old"])
def test_a_writer_killed_at_any_point_leaves_the_old_or_the_new_with_its_record(
    path: Path, boundary: str, old: str | None
) -> None:
    if old:
        publish(path, {ROOT: old})
    function, is_new = BOUNDARIES[boundary]
    publish_and_die(path, function, {ROOT: "new"})
    assert_settled(path, {ROOT: "new" if is_new else old})


def test_of_jobs_published_together_each_is_old_or_new_by_itself(path: Path) -> None:
    publish(path, {ROOT: "one", OTHER: "two"})
    publish_and_die(path, "os.rename", {ROOT: "three", OTHER: "four", "vms/c/root.cow": "c"}, skip=1)
    assert_settled(path, {ROOT: "three", OTHER: "two", "vms/c/root.cow": None})


def test_the_next_writer_goes_on_from_where_a_killed_one_ended(path: Path) -> None:
    publish(path, {ROOT: "one"})
    publish_and_die(path, "bangerbuild.store.Store._confirm", {ROOT: "two"})
    publish_and_die(path, "bangerbuild.store.Store._rename", {ROOT: "three"})
    publish(path, {OTHER: "four"})
    assert_settled(path, {ROOT: "two", OTHER: "four"})


def test_two_intents_for_one_artifact_are_settled_by_the_rename_that_took_place(path: Path) -> None:
    with store.writing(path, timeout_seconds=0) as opened:
        for text in ("one", "two"):
            jobs = staged(opened, {ROOT: text})
            opened._write_intents([Publication.of(job) for job in jobs])
            if text == "one":
                opened._rename(jobs[:1], lambda _: True)
    assert_settled(path, {ROOT: "one"})


def test_a_disk_that_a_guest_used_after_the_kill_is_known_and_known_to_be_changed(path: Path) -> None:
    publish_and_die(path, "bangerbuild.store.Store._confirm", {ROOT: "new"})
    with (path / ROOT).open("r+") as guest:
        guest.write("GUEST")
    for _ in range(2):
        assert store.read(path).records[step_of(ROOT)] == record(ROOT, "new")
        assert store.read(path).modified(ROOT)
        with store.writing(path, timeout_seconds=0) as opened:
            assert opened.modified(ROOT)


def test_a_store_copied_after_a_kill_is_settled_by_the_digest(path: Path, tmp_path: Path) -> None:
    publish(path, {ROOT: "one"})
    publish_and_die(path, "bangerbuild.store.Store._confirm", {ROOT: "two"})
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    assert_settled(copy, {ROOT: "two"})


def test_in_a_copy_a_guests_disk_that_was_just_published_is_known_by_its_size_and_mtime(
    path: Path, tmp_path: Path
) -> None:
    with store.writing(path, timeout_seconds=0) as opened:
        (job,) = staged(opened, {ROOT: "work"})
        publication = Publication.of(Staged(job.records, job.files, guests=frozenset(job.files)))
        opened._write_intents([publication])
        opened._rename([publication.job], lambda _: True)
        shutil.copytree(path, tmp_path / "copy")  # with its mtime, on another inode
        shutil.copytree(path, tmp_path / "touched")
        os.utime(tmp_path / "touched" / ROOT)
    known = {name: store.read(tmp_path / name).records for name in ("copy", "touched")}
    assert known == {"copy": {step_of(ROOT): record(ROOT, "work")}, "touched": {}}


def test_staging_that_a_killed_writer_left_is_swept_by_the_next_and_not_by_a_reader(path: Path) -> None:
    publish_and_die(path, "bangerbuild.store.Store._rename", {ROOT: "one"})
    left = list((path / ".staging").rglob("file"))
    assert len(left) == 1
    store.read(path)
    assert left[0].exists()
    with store.writing(path, timeout_seconds=0):
        assert list((path / ".staging").iterdir()) == []


def test_a_staging_directory_of_another_program_is_not_swept(path: Path) -> None:
    (path / ".staging" / "theirs").mkdir(parents=True)
    with store.writing(path, timeout_seconds=0):
        assert (path / ".staging" / "theirs").exists()


# failing


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FULL_DATABASE = sqlite3.OperationalError("database or disk is full")


def test_what_a_patch_is_about_to_write_is_remembered_until_it_is_confirmed(path: Path) -> None:
    publish(path, {ROOT: "one"})
    step_id = "vm.web.root.patch"
    for lines in ({"/a": "1", "/b": "1"}, {"/a": "2"}, {"/a": "1"}):
        with store.writing(path, timeout_seconds=0) as opened:
            opened.intend(step_id, lines)
    assert store.read(path).intended_ledger(step_id) == {"/a": ["1", "2"], "/b": ["1"]}
    assert store.read(path).ledger(step_id) == {}
    with store.writing(path, timeout_seconds=0) as opened:
        opened.publish([Staged((), {}, written={step_id: {"/a": "2"}})])
        assert opened.intended_ledger(step_id) == {}
    assert store.read(path).intended_ledger(step_id) == {}
    assert store.read(path).ledger(step_id) == {"/a": "2"}


def test_what_a_patch_was_about_to_write_is_forgotten_with_the_rest(path: Path) -> None:
    publish(path, {ROOT: "one"})
    with store.writing(path, timeout_seconds=0) as opened:
        opened.intend("vm.web.root.patch", {"/a": "1"})
        opened.forget(["vm.web.root.patch"], [])
        assert opened.intended_ledger("vm.web.root.patch") == {}


def publish_raising(path: Path, function: str, error: Exception, texts: dict[str, str]) -> None:
    """A writer whose call of the function raises the error."""
    with store.writing(path, timeout_seconds=0) as opened:
        jobs = staged(opened, texts)
        with mock.patch(function, side_effect=error):
            opened.publish(jobs)


@pytest.mark.parametrize(
    ("function", "error", "left"),
    [
        ("bangerbuild.store.publishing.Publication.of", FULL, "old"),
        ("bangerbuild.store.Store._write_intents", FULL_DATABASE, "old"),
        ("bangerbuild.store.contents.put_in_place", FULL, "old"),
        ("os.rename", FULL, "old"),
        ("bangerbuild.store.database.write_records", FULL_DATABASE, "new"),
        ("bangerbuild.store.database.write_stamps", FULL_DATABASE, "new"),
    ],
)
def test_a_disk_that_is_full_at_any_point_is_one_plain_error_with_the_old_or_the_new_in_place(
    path: Path, function: str, error: Exception, left: str
) -> None:
    publish(path, {ROOT: "old"})
    with pytest.raises(StoreError) as caught:
        publish_raising(path, function, error, {ROOT: "new"})
    assert "no space left on device" in caught.value.brief or "disk is full" in caught.value.brief
    assert "room" in str(caught.value.hint) or "space" in str(caught.value.hint)
    assert_settled(path, {ROOT: left})


def work_in_vain(path: Path) -> None:
    """A writer whose own work fails, and whose database could not be written either."""
    with store.writing(path, timeout_seconds=0) as opened:
        assert opened._database is not None
        opened._database.close()
        raise ZeroDivisionError


def test_an_error_in_the_writers_own_work_is_the_one_that_comes_out(path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        work_in_vain(path)


def test_a_writer_that_failed_lets_go_of_the_store(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), store.writing(path, timeout_seconds=0):
        raise ZeroDivisionError
    publish(path, {ROOT: "one"})


# stamps


def test_an_artifact_as_it_was_published_is_not_modified(path: Path) -> None:
    publish(path, {ROOT: "one"})
    assert not store.read(path).modified(ROOT)
    assert not store.read(path).modified(ROOT, may_read=False)


@pytest.mark.parametrize("text", ["two", "longer", ""])
def test_a_write_right_after_the_publication_is_noticed(path: Path, text: str) -> None:
    publish(path, {ROOT: "one"})
    (path / ROOT).write_text(text)
    assert store.read(path).modified(ROOT)


def test_a_write_is_noticed_even_within_the_tick_of_the_clock_of_the_publication(path: Path) -> None:
    for _ in range(50):
        with store.writing(path, timeout_seconds=0) as opened:
            opened.publish(staged(opened, {ROOT: "one"}))
            (path / ROOT).write_text("two")
            assert opened.modified(ROOT)


def test_an_artifact_with_another_time_but_the_same_bytes_is_not_modified(path: Path) -> None:
    publish(path, {ROOT: "one"})
    (path / ROOT).touch()
    assert not store.read(path).modified(ROOT)


def test_an_artifact_that_may_not_be_read_counts_as_modified_if_its_stat_differs(path: Path) -> None:
    publish(path, {ROOT: "one"})
    (path / ROOT).touch()
    assert store.read(path).modified(ROOT, may_read=False)


def test_an_artifact_that_no_stamp_speaks_of_counts_as_modified(path: Path) -> None:
    publish(path, {ROOT: "one"})
    (path / OTHER).parent.mkdir()
    (path / OTHER).write_text("mine")
    assert store.read(path).modified(OTHER)


def test_an_artifact_that_is_gone_does_not_exist_and_counts_as_modified(path: Path) -> None:
    publish(path, {ROOT: "one"})
    (path / ROOT).unlink()
    assert not store.read(path).exists(ROOT)
    assert store.read(path).modified(ROOT)


def test_a_store_can_be_moved(path: Path, tmp_path: Path) -> None:
    publish(path, {ROOT: "one"})
    path.rename(tmp_path / "elsewhere")
    assert standing(store.read(tmp_path / "elsewhere"), ROOT) == "one"


def test_a_copied_store_is_as_good_as_the_original(path: Path, tmp_path: Path) -> None:
    publish(path, {ROOT: "one"})
    copy = tmp_path / "copy"
    shutil.copytree(path, copy, copy_function=shutil.copyfile)  # other inodes, other times
    assert (copy / ROOT).stat().st_mtime_ns != (path / ROOT).stat().st_mtime_ns
    assert standing(store.read(copy), ROOT) == "one"
    publish(copy, {ROOT: "two"})
    assert standing(store.read(copy), ROOT) == "two"
    assert standing(store.read(path), ROOT) == "one"


# locking

HOLD = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from bangerbuild import store
with store.writing(Path(sys.argv[1]), timeout_seconds=0) as opened:
    opened.lock(["vm.web"])
    print(flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holding(path: Path) -> Callable[[], subprocess.Popen[bytes]]:
    """Starts another process that holds the store until it ends."""

    def hold() -> subprocess.Popen[bytes]:
        program = subprocess.Popen(
            [sys.executable, "-c", HOLD, path], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert program.stdout is not None
        program.stdout.readline()
        return program

    return hold


def test_a_second_writer_is_told_who_holds_what_it_wants(
    path: Path, holding: Callable[[], subprocess.Popen[bytes]]
) -> None:
    with holding() as program:
        with pytest.raises(BusyError) as caught, store.writing(path, timeout_seconds=0) as opened:
            opened.lock(["vm.db", "vm.web"])
        program.communicate()
    assert caught.value.brief == f"'vm.web' is locked by process {program.pid}"
    assert "--lock-timeout" in str(caught.value.hint)
    assert caught.value.exit_code == 4


def test_a_reader_does_not_wait_for_a_writer(
    path: Path, holding: Callable[[], subprocess.Popen[bytes]]
) -> None:
    publish(path, {ROOT: "one"})
    with holding() as program:
        assert standing(store.read(path), ROOT) == "one"
        program.communicate()


def test_a_writer_gets_the_store_once_the_other_is_done(
    path: Path, holding: Callable[[], subprocess.Popen[bytes]]
) -> None:
    with holding() as program:
        assert program.stdin is not None
        program.stdin.close()
        with store.writing(path, timeout_seconds=60) as opened:
            opened.lock(["vm.web"])
            opened.publish(staged(opened, {ROOT: "one"}))


def test_the_lock_dies_with_its_holder(path: Path, holding: Callable[[], subprocess.Popen[bytes]]) -> None:
    with holding() as program:
        program.send_signal(signal.SIGKILL)
        program.communicate()
    with store.writing(path, timeout_seconds=0) as opened:
        opened.lock(["vm.web"])
        opened.publish(staged(opened, {ROOT: "one"}))


def test_a_job_whose_place_may_not_be_taken_is_left_out_and_the_others_are_published(tmp_path: Path) -> None:
    path = tmp_path / "build"
    publish(path, {ROOT: "one", OTHER: "one"})
    with store.writing(path, timeout_seconds=0) as opened:
        jobs = staged(opened, {ROOT: "two", OTHER: "two"})
        assert opened.publish(jobs, may_take=lambda artifact: artifact != ROOT) == [jobs[0]]
        assert (standing(opened, ROOT), standing(opened, OTHER)) == ("one", "two")
    with store.writing(path, timeout_seconds=0) as opened:
        assert (standing(opened, ROOT), standing(opened, OTHER)) == ("one", "two")


def test_threads_that_stage_first_at_the_same_time_share_one_directory(path: Path) -> None:
    with store.writing(path, timeout_seconds=0) as opened, ThreadPoolExecutor(8) as pool:
        together = threading.Barrier(8)

        def stage(number: int) -> Path:
            together.wait()
            return opened.staged(f"vms/web/{number}")

        assert len({path.parent.parent for path in pool.map(stage, range(8))}) == 1
        assert len(list((path / ".staging").iterdir())) == 1
    assert list((path / ".staging").iterdir()) == []


def test_what_was_seen_of_an_artifact_is_forgotten_when_another_takes_its_place(path: Path) -> None:
    publish(path, {ROOT: "one"})
    old = (path / ROOT).stat().st_mtime_ns - 60 * 10**9
    os.utime(path / ROOT, ns=(old, old))
    with store.writing(path, timeout_seconds=0) as opened:
        assert not opened.modified(ROOT)
        opened.publish(staged(opened, {ROOT: "two"}))
    assert standing(store.read(path), ROOT) == "two"


class TestSealing:
    """The last look at a store, when nobody else is at work there."""

    def test_a_sealed_store_says_in_its_database_all_that_it_knows(self, tmp_path: Path) -> None:
        with store.writing(tmp_path, timeout_seconds=0) as opened:
            opened.publish(staged(opened, {ROOT: "one"}))
            opened.put("1:2", "stamp", "digest")
            assert opened.flush_and_close()
            assert not (tmp_path / "state.db-wal").exists()
            known = store.read(tmp_path)
            assert known.records == opened.records
            assert known.stamps == opened.stamps
            assert known.get("1:2", "stamp") == "digest"

    def test_nobody_begins_before_it_is_closed(self, tmp_path: Path) -> None:
        with store.writing(tmp_path, timeout_seconds=0) as opened:
            assert opened.flush_and_close()
            with pytest.raises(BusyError), store.writing(tmp_path, timeout_seconds=0):
                pass
        publish(tmp_path, {ROOT: "one"})

    def test_while_another_is_at_work_it_is_not_sealed(self, tmp_path: Path) -> None:
        with store.writing(tmp_path, timeout_seconds=0), store.writing(tmp_path, timeout_seconds=0) as opened:
            assert not opened.flush_and_close()

    def test_what_another_wrote_meanwhile_is_not_known(self, tmp_path: Path) -> None:
        with store.writing(tmp_path, timeout_seconds=0) as opened:
            publish(tmp_path, {ROOT: "one"})
            assert not opened.flush_and_close()

    def test_a_refreshed_store_knows_it(self, tmp_path: Path) -> None:
        with store.writing(tmp_path, timeout_seconds=0) as opened:
            publish(tmp_path, {ROOT: "one"})
            opened.refresh()
            assert opened.flush_and_close()
            assert standing(opened, ROOT) == "one"
