"""Stores and caches that somebody else made lead nowhere outside themselves, and what is wrong is named."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import pipeline, store
from bangerbuild.commands import destroy, gc, recover
from bangerbuild.errors import BangerError, CacheError, LockFileError, ManifestError, StoreError
from bangerbuild.fetch import url_records
from bangerbuild.fetch.cache import Cache
from bangerbuild.model.request import Request
from bangerbuild.resolving import lockfile
from bangerbuild.store import database as db
from tests.projects import Project, write_small
from tests.stores import copied

if TYPE_CHECKING:
    from collections.abc import Callable

MANIFEST = '[image.small.rootfs]\ndirectory = "tree"\n[vm.web]\nimage = "small"\nwork.size = "16MiB"\n'
OTHER_USER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a symlink to another user")


def unheard(_message: str) -> None:
    pass


@dataclass(frozen=True)
class Attacked:
    """A built project whose store is about to be changed, and what must never change."""

    project: Project
    victim: Path
    """A directory outside the store, laid out as a directory of any kind might be."""
    before: dict[str, bytes]

    @property
    def store(self) -> Path:
        return self.project.store

    def run_all(self) -> list[BangerError]:
        """Every command that writes; the errors they end with."""
        request, errors = self.project.request(), []
        image = replace(request, targets=("image.small",))
        vm = replace(request, targets=("vm.web",))
        attempts: tuple[Callable[[], object], ...] = (
            self.project.plan,
            self.project.apply,
            lambda: gc.collect(request, unheard, dry_run=False, lock_seconds=0),
            lambda: recover.recover(request, unheard, lock_seconds=0),
            lambda: destroy.destroy(vm, lambda _: True, unheard, lock_seconds=0),
            lambda: destroy.destroy(image, lambda _: True, unheard, lock_seconds=0),
        )
        for attempt in attempts:
            try:
                attempt()
            except BangerError as err:
                errors.append(err)
        return errors

    def assert_untouched(self) -> None:
        assert contents(self.victim) == self.before


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def bound(path: str) -> None:
    """A socket; its path may be too long to be bound to from here."""
    here = os.open(Path(path).parent, os.O_RDONLY)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(f"/proc/self/fd/{here}/{Path(path).name}")
    os.close(here)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("built"))
    write_small(project.directory, MANIFEST)
    project.build()
    return project


@pytest.fixture
def attacked(built: Project, tmp_path: Path) -> Attacked:
    project = Project(tmp_path / "project")
    project.directory.mkdir()
    shutil.copytree(built.directory / "tree", project.directory / "tree")
    project.write(MANIFEST)
    copied(built.store, project.store)
    victim = tmp_path / "victim"
    for name in ("sub/file", "root.cow", "work.ext4", "attach.sh", "vm.web", "sessions", "store"):
        (victim / name).parent.mkdir(parents=True, exist_ok=True)
        (victim / name).write_text(f"precious {name}")
    return Attacked(project, victim, contents(victim))


def in_place_of(path: Path, target: Path, *, user: int | None = None) -> None:
    """A symlink where something of the store was."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)
    if user is not None:
        os.lchown(path, user, user)


@pytest.mark.parametrize("name", [".staging", ".locks"])
def test_a_symlink_in_the_place_of_the_stores_own_directories_is_named_and_not_followed(
    attacked: Attacked, name: str
) -> None:
    in_place_of(attacked.store / name, attacked.victim)
    errors = attacked.run_all()
    assert len(errors) == 6
    for error in errors:
        assert f"'{attacked.store / name}' is a symlink to '{attacked.victim}'" in error.brief
        assert f"rm '{attacked.store / name}'" in str(error.hint)
    attacked.assert_untouched()


@pytest.mark.parametrize("name", ["sessions", "store", "vm.web"])
def test_a_symlink_in_the_place_of_a_lock_is_not_written_to(attacked: Attacked, name: str) -> None:
    in_place_of(attacked.store / ".locks" / name, attacked.victim / name)
    attacked.project.write(MANIFEST + 'hostname = "other"\n')
    assert any(f".locks/{name}' is a symlink" in error.brief for error in attacked.run_all())
    attacked.assert_untouched()


@as_root
@pytest.mark.parametrize("name", ["images", "images/small", "vms", "vms/web", "vms/web/work.ext4", "FP"])
def test_a_symlink_of_another_user_is_not_followed(attacked: Attacked, name: str) -> None:
    target = attacked.victim / "work.ext4" if name.endswith(".ext4") else attacked.victim
    path = next(attacked.store.glob("images/small/*")) if name == "FP" else attacked.store / name
    in_place_of(path, target, user=OTHER_USER)
    errors = attacked.run_all()
    assert errors
    assert "was made by another user (uid 12345)" in errors[0].brief
    attacked.assert_untouched()


@as_root
def test_a_users_own_symlink_to_another_users_directory_is_not_followed(attacked: Attacked) -> None:
    os.chown(attacked.victim, OTHER_USER, OTHER_USER)
    in_place_of(attacked.store / "vms/web", attacked.victim)
    assert "belongs to another user (uid 12345)" in attacked.run_all()[0].brief
    attacked.assert_untouched()


def test_a_directory_that_the_user_moved_to_another_drive_is_used_and_nothing_is_removed_there(
    attacked: Attacked, tmp_path: Path
) -> None:
    drive, directory = tmp_path / "drive", attacked.store / "vms/web"
    directory.rename(drive)
    directory.symlink_to(drive)
    attacked.project.build()
    assert {action.verb.value for action in attacked.project.plan().values()} == {"keep"}
    before = contents(drive)
    request = replace(attacked.project.request(), targets=("vm.web",))
    with pytest.raises(StoreError, match="nothing is removed outside the store") as caught:
        destroy.destroy(request, lambda _: True, unheard, lock_seconds=0)
    assert f"put what it leads to in its place, or remove that yourself and then '{directory}'" in str(
        caught.value.hint
    )
    assert contents(drive) == before


def test_the_store_itself_may_be_behind_a_symlink(attacked: Attacked, tmp_path: Path) -> None:
    attacked.store.rename(tmp_path / "elsewhere")
    attacked.store.symlink_to(tmp_path / "elsewhere")
    attacked.project.build()
    request = replace(attacked.project.request(), targets=("vm.web",))
    assert destroy.destroy(request, lambda _: True, unheard, lock_seconds=0) is not None
    assert not (tmp_path / "elsewhere/vms/web").exists()


@pytest.mark.parametrize(
    "name", ["state.db", "state.db-wal", "state.db-journal", ".locks/sessions", ".locks/store", ".locks"]
)
@pytest.mark.parametrize("make", [os.mkfifo, bound], ids=["fifo", "socket"])
def test_nothing_waits_for_the_other_end_of_what_is_no_file(
    attacked: Attacked, name: str, make: Callable[[str], None]
) -> None:
    path = attacked.store / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make(str(path))
    attacked.project.write(MANIFEST + 'hostname = "other"\n')
    with pytest.raises(BangerError) as caught:
        attacked.project.apply()
    assert str(path) in caught.value.brief
    attacked.assert_untouched()


@pytest.mark.parametrize("name", ["root.cow", "work.ext4", "root.cow.redo"])
def test_a_fifo_in_the_place_of_a_disk_blocks_its_steps_and_hangs_nobody(
    attacked: Attacked, name: str
) -> None:
    path = attacked.store / "vms/web" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    attacked.project.write(MANIFEST + 'hostname = "other"\n')
    plan = attacked.project.plan()
    attacked.project.apply()
    if name.endswith(".redo"):  # beside a disk that is made anew
        assert not path.exists()
    else:
        assert path.is_fifo()
        assert any(action.verb.value == "blocked" for action in plan.values())


def test_a_fifo_in_the_place_of_a_lock_file_or_an_include_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "bangerbuild.lock")
    with pytest.raises(LockFileError, match="no regular file"):
        lockfile.read(tmp_path / "bangerbuild.lock")
    os.mkfifo(tmp_path / "more.toml")
    (tmp_path / "vm.toml").write_text('include = ["more.toml"]\n')
    with pytest.raises(ManifestError) as caught:
        pipeline.load_request(Request((tmp_path / "vm.toml",)))
    assert "no regular file" in caught.value.problems[0].message


PATHS = [
    "../victim/root.cow",
    "vms/../../victim/root.cow",
    "vms/web/../../../victim/root.cow",
    "/etc/hostname",
    "vms//root.cow",
    "vms/web/./root.cow",
    "vms/web/",
    "",
    ".",
    "..",
    ".locks/store",
    "state.db",
    "vms/web/a\0b",
    "vms/web/a\nb",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("where", ["artifacts", "base", "stamps", "intents"])
def test_a_path_that_leads_elsewhere_is_one_error_and_nothing_is_removed(
    attacked: Attacked, path: str, where: str
) -> None:
    with contextlib.closing(sqlite3.connect(attacked.store / "state.db")) as database, database:
        body: dict[str, Any]
        if where == "stamps":
            database.execute("INSERT INTO stamps VALUES (?, 1, 1, 1, '', 0)", (path,))
        elif where == "intents":
            body = {"records": {}, "stamps": {path: [1, 1, 1, "", False]}, "written": {}}
            database.execute("INSERT INTO intents VALUES (1, 'gone', ?)", (json.dumps(body),))
        else:
            row = database.execute("SELECT body FROM records WHERE id = 'vm.web.root'").fetchone()
            body = json.loads(row[0])
            if where == "artifacts":
                body["artifacts"] = [path]
            else:
                body["facts"]["base"] = path
            database.execute("UPDATE records SET body = ? WHERE id = 'vm.web.root'", (json.dumps(body),))
    for attempt in (attacked.project.plan, attacked.project.apply):
        with pytest.raises(StoreError, match="is no path of an artifact") as caught:
            attempt()
        assert "bangerbuild recover" in str(caught.value.hint)
    attacked.assert_untouched()


def test_a_stale_staging_directory_is_removed_and_not_what_it_links_to(attacked: Attacked) -> None:
    staging = attacked.store / ".staging"
    (staging / "dead").mkdir(parents=True)
    (staging / "dead/link").symlink_to(attacked.victim)
    (staging / "link").symlink_to(attacked.victim)
    attacked.project.write(MANIFEST + 'hostname = "other"\n')
    attacked.project.build()
    assert list(staging.iterdir()) == []
    attacked.assert_untouched()


def test_empty_directories_behind_symlinks_stay(attacked: Attacked) -> None:
    (attacked.victim / "empty").mkdir()
    (attacked.store / "images/other").symlink_to(attacked.victim)
    gc.collect(attacked.project.request(), unheard, dry_run=False, lock_seconds=0)
    assert (attacked.victim / "empty").is_dir()


RECORD = {
    "recipe": {"kind": "root-overlay", "fields": {}, "inputs": {}, "sources": {}, "tools": {}},
    "fingerprint": "f",
    "artifacts": ["vms/web/root.cow"],
    "facts": {},
}
RECORDS = {
    "no-json": "{",
    "a-number": 7,
    "a-blob": b"{}",
    "a-list": "[]",
    "null": "null",
    "nested-deeply": "[" * 100_000,
    "a-number-of-5000-digits": "1" * 5000,
    "not-a-number": json.dumps({**RECORD, "facts": {"file_bytes": float("nan")}}),
    "no-recipe": json.dumps({key: value for key, value in RECORD.items() if key != "recipe"}),
    "a-further-key": json.dumps({**RECORD, "more": 1}),
    "a-recipe-of-text": json.dumps({**RECORD, "recipe": "text"}),
    "a-kind-of-none": json.dumps({**RECORD, "recipe": {**RECORD["recipe"], "kind": None}}),  # type: ignore[dict-item]
    "fields-of-a-list": json.dumps({**RECORD, "recipe": {**RECORD["recipe"], "fields": []}}),  # type: ignore[dict-item]
    "inputs-of-numbers": json.dumps({**RECORD, "recipe": {**RECORD["recipe"], "inputs": {"a": 1}}}),  # type: ignore[dict-item]
    "a-fingerprint-of-a-number": json.dumps({**RECORD, "fingerprint": 1}),
    "artifacts-of-text": json.dumps({**RECORD, "artifacts": "vms/web/root.cow"}),
    "artifacts-of-none": json.dumps({**RECORD, "artifacts": []}),
    "artifacts-of-numbers": json.dumps({**RECORD, "artifacts": [1]}),
    "a-lone-surrogate": json.dumps({**RECORD, "artifacts": ["vms/web/\ud800"]}),
    "facts-of-a-list": json.dumps({**RECORD, "facts": []}),
    "a-size-of-text": json.dumps({**RECORD, "facts": {"file_bytes": "1"}}),
    "a-negative-size": json.dumps({**RECORD, "facts": {"file_bytes": -1}}),
    "a-format-of-a-table": json.dumps({**RECORD, "facts": {"format": {}}}),
    "a-base-of-a-number": json.dumps({**RECORD, "facts": {"base": 1}}),
}
STATEMENTS = {
    "a-stamp-of-text": "UPDATE stamps SET size = 'large'",
    "a-stamp-of-none": "UPDATE stamps SET inode = NULL",
    "a-digest-of-a-number": "UPDATE stamps SET digest = x'00'",
    "a-guest-of-seven": "UPDATE stamps SET guest = 7",
    "a-negative-stamp": "UPDATE stamps SET size = -1",
    "no-records": "DROP TABLE records",
    "no-stamps": "DROP TABLE stamps",
    "no-intents": "DROP TABLE intents",
    "a-missing-column": "ALTER TABLE stamps DROP COLUMN guest",
    "a-digest-of-a-blob": "INSERT INTO digests VALUES ('a', x'00', x'00')",
    "an-intent-of-a-list": "INSERT INTO intents VALUES (1, 'session', '[]')",
    "an-intent-of-elsewhere": "INSERT INTO intents VALUES (1, '../x', '{}')",
    "an-id-of-elsewhere": "UPDATE records SET id = '/victim/vm.web'",
    "an-id-of-a-directory-above": "UPDATE records SET id = 'vm.web/../../x.root'",
    "an-id-with-a-nul": "UPDATE records SET id = 'vm.web' || char(0)",
    "an-id-of-nothing": "UPDATE records SET id = ''",
    "an-id-longer-than-a-name": "UPDATE records SET id = 'vm.' || hex(zeroblob(200))",
    "an-origin-of-elsewhere": "INSERT INTO origins VALUES ('../x', 'vm.toml')",
    "an-intent-of-wrong-records": (
        """INSERT INTO intents VALUES (1, 's', '{"records":{"a":1},"stamps":{},"written":{}}')"""
    ),
}
FILES = {
    "a-ledger-of-a-list": "[]",
    "a-ledger-of-numbers": '{"/etc/a": 1}',
    "a-ledger-of-relative-paths": '{"etc/a": "line"}',
    "a-ledger-with-a-nul": '{"/etc/\\u0000": "line"}',
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A store of one record, without the disk."""
    with contextlib.closing(db.connect(tmp_path)) as database, database:
        db.write_records(database, {"vm.web.root": json.dumps(RECORD)})
        database.execute("INSERT INTO stamps VALUES ('vms/web/root.cow', 1, 1, 1, '', 1)")
    return tmp_path


def assert_named(path: Path) -> StoreError:
    """Readers and writers get one error, with a way out, and change nothing."""
    with pytest.raises(StoreError) as caught:
        store.read(path)
    with pytest.raises(StoreError), store.writing(path, timeout_seconds=0):
        pass
    assert f"the store '{path}' can't be used: state.db: " in caught.value.brief
    assert "`bangerbuild recover`" in str(caught.value.hint)
    return caught.value


@pytest.mark.parametrize("name", RECORDS)
def test_a_malformed_record_is_one_error_that_names_it(small: Path, name: str) -> None:
    with contextlib.closing(sqlite3.connect(small / "state.db")) as database, database:
        database.execute("UPDATE records SET body = ?", (RECORDS[name],))
    assert "the record of 'vm.web.root' is damaged: " in assert_named(small).brief


@pytest.mark.parametrize("name", STATEMENTS)
def test_any_other_malformed_row_or_table_is_one_error_too(small: Path, name: str) -> None:
    with contextlib.closing(sqlite3.connect(small / "state.db")) as database, database:
        database.execute(STATEMENTS[name])
    assert_named(small)


@pytest.mark.parametrize("name", FILES)
def test_a_malformed_ledger_is_named_when_it_is_read(small: Path, name: str) -> None:
    with contextlib.closing(sqlite3.connect(small / "state.db")) as database, database:
        database.execute("INSERT INTO files VALUES ('vm.web.root.patch', ?)", (FILES[name],))
    with pytest.raises(StoreError, match=r"the row of files of 'vm\.web\.root\.patch' is damaged"):
        store.read(small).ledger("vm.web.root.patch")


def test_a_database_of_another_program_and_one_of_a_later_version_are_told_apart(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
        database.execute("CREATE TABLE notes (text)")
    with pytest.raises(StoreError, match="has format 0"):
        store.read(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as database:
        database.execute(f"PRAGMA user_version = {db.FORMAT + 1}")
    with (
        pytest.raises(StoreError, match=f"has format {db.FORMAT + 1}"),
        store.recovering(tmp_path, timeout_seconds=0),
    ):
        pass


class TestCache:
    @pytest.fixture
    def victim(self, tmp_path: Path) -> Path:
        (tmp_path / "victim/sha256").mkdir(parents=True)
        (tmp_path / "victim/key").write_text("precious")
        return tmp_path / "victim"

    @pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "drafts", "urls"])
    def test_a_symlink_in_it_is_named_and_not_followed(self, tmp_path: Path, victim: Path, name: str) -> None:
        place = tmp_path / "cache" / name
        place.parent.mkdir(parents=True)
        place.symlink_to(victim)
        with Cache(tmp_path / "cache") as cache:
            with pytest.raises(CacheError, match=f"'{place}' of the cache is a symlink"), cache.draft("key"):
                pass
            for attempt in (lambda: cache.get("0" * 64), lambda: cache.bound(0)):
                with pytest.raises(CacheError, match="is a symlink"):
                    attempt()
        assert (victim / "key").read_text() == "precious"
        assert sorted(path.name for path in victim.rglob("*")) == ["key", "sha256"]

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
    def test_what_is_no_file_in_the_place_of_a_blob_or_a_draft_is_an_error(
        self, tmp_path: Path, make: Callable[[Path], None]
    ) -> None:
        with Cache(tmp_path) as cache:
            for place in (cache.blobs, cache.drafts):
                place.mkdir(parents=True)
                make(place / "key")
            with pytest.raises(CacheError):
                cache.get("key")
            with pytest.raises(CacheError), cache.draft("key"):
                pass

    def test_a_symlink_in_the_place_of_its_tag_is_not_written_through(
        self, tmp_path: Path, victim: Path
    ) -> None:
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache/CACHEDIR.TAG").symlink_to(victim / "new")
        with Cache(tmp_path / "cache") as cache, cache.draft("key"):
            pass
        assert not (victim / "new").exists()

    @pytest.mark.parametrize(
        "text", ["[]", "{", '{"etag": 1, "last_modified": "", "digest": ""}', "[" * 100_000]
    )
    def test_a_malformed_record_of_a_url_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "record").write_text(text)
        assert url_records.read(tmp_path / "record") == url_records.UrlRecord()

    def test_a_record_of_a_url_names_a_digest_or_nothing(self, tmp_path: Path) -> None:
        body = {"etag": "", "last_modified": "", "digest": "../../victim"}
        (tmp_path / "record").write_text(json.dumps(body))
        assert url_records.read(tmp_path / "record") == url_records.UrlRecord()

    def test_records_of_urls_are_neither_read_nor_written_through_links(
        self, tmp_path: Path, victim: Path
    ) -> None:
        os.mkfifo(tmp_path / "fifo.json")
        assert url_records.read(tmp_path / "fifo.json") == url_records.UrlRecord()
        (tmp_path / "record.new").symlink_to(victim / "key")
        url_records.write(tmp_path / "record.json", url_records.UrlRecord())
        assert (victim / "key").read_text() == "precious"
        assert url_records.read(tmp_path / "record.json") == url_records.UrlRecord()
