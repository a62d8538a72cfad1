"""The store's tables, as another program that reads SQLite sees them and as they come back."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import StoreError
from bangerbuild.model import Recipe, Record
from bangerbuild.store import database as db
from bangerbuild.store.stamps import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORD = Record(
    "vm.web.root",
    Recipe("root", {"size": 1}, {"image.a.rootfs": "f"}, {"role": "digest"}, {"mke2fs": "1.47"}),
    "fingerprint",
    ("vms/web/root.cow",),
    {"base": "images/a"},
)
STAMP = Stamp(4096, 1_700_000_000_000_000_000, 17, "digest", guest=True)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(db.connect(tmp_path)) as connection:
        yield connection


def test_a_new_database_is_its_owners_and_sound_to_sqlite(tmp_path: Path) -> None:
    assert not db.exists(tmp_path)
    db.connect(tmp_path).close()
    assert db.exists(tmp_path)
    assert (tmp_path / db.NAME).stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(tmp_path / db.NAME)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert other.execute("PRAGMA user_version").fetchone() == (db.FORMAT,)
        assert other.execute("PRAGMA page_size").fetchone() == (db.PAGE_BYTES,)


def test_what_is_written_comes_back(database: sqlite3.Connection) -> None:
    with database:
        db.write_records(database, {RECORD.id: db.body_of(RECORD)})
        db.write_stamps(database, {"vms/web/root.cow": STAMP})
        db.write_digests(database, [("key", ("stamp", "digest"))])
        db.write_files(database, {"vm.web.root.patch": '{"/etc/hostname":"line"}'})
    assert list(db.records(database)) == [RECORD]
    assert dict(db.stamps(database)) == {"vms/web/root.cow": STAMP}
    assert dict(db.digests(database)) == {"key": ("stamp", "digest")}
    assert db.files(database, "vm.web.root.patch") == {"/etc/hostname": "line"}
    assert db.files(database, "another") == {}


def test_what_is_written_again_takes_the_place_of_what_was_there(database: sqlite3.Connection) -> None:
    for digest in ("one", "two"):
        db.write_digests(database, [("key", ("stamp", digest))])
    assert dict(db.digests(database)) == {"key": ("stamp", "two")}


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 4000])
def test_any_number_of_rows_is_written(database: sqlite3.Connection, count: int) -> None:
    rows = {f"key {number}": ("stamp", f"digest {number}") for number in range(count)}
    db.write_digests(database, rows.items())
    assert dict(db.digests(database)) == rows


def _intent_of(name: str) -> str:
    return json.dumps({"records": {}, "stamps": {}, "written": {name: {}}})


def test_intents_come_back_in_the_order_in_which_they_were_begun(database: sqlite3.Connection) -> None:
    for session, names in (("a", "12"), ("b", "3"), ("a", "4")):
        db.write_intents(database, session, [_intent_of(name) for name in names])
    assert [(session, *body["written"]) for session, body in db.intents(database)] == [
        ("a", "1"),
        ("a", "2"),
        ("b", "3"),
        ("a", "4"),
    ]
    db.drop_intents(database, "a")
    assert [session for session, _ in db.intents(database)] == ["b"]


def test_what_a_patch_was_about_to_write_stays_until_it_is_confirmed(
    database: sqlite3.Connection,
) -> None:
    for line in ("new", "newer", "new"):
        db.write_unconfirmed(database, "patch", {"/etc/motd": line})
    assert db.unconfirmed(database, "patch") == {"/etc/motd": ["new", "newer"]}
    assert db.files(database, "patch") == {}
    db.write_files(database, {"patch": '{"/etc/motd":"newer"}'})
    assert db.unconfirmed(database, "patch") == {}
    assert db.files(database, "patch") == {"/etc/motd": "newer"}


def test_what_is_forgotten_is_gone_and_nothing_else_is(database: sqlite3.Connection) -> None:
    other = Record("other", RECORD.recipe, "f", ("vms/other",))
    db.write_records(database, {record.id: db.body_of(record) for record in (RECORD, other)})
    db.write_files(database, {RECORD.id: "{}", other.id: '{"/a":"b"}'})
    db.write_unconfirmed(database, RECORD.id, {"/a": "b"})
    db.write_stamps(database, {"vms/web/root.cow": STAMP, "vms/other": STAMP})
    db.forget(database, [RECORD.id], ["vms/web/root.cow"])
    assert list(db.records(database)) == [other]
    assert dict(db.stamps(database)) == {"vms/other": STAMP}
    assert (db.files(database, other.id), db.unconfirmed(database, RECORD.id)) == ({"/a": "b"}, {})


def test_the_version_changes_when_another_connection_commits_and_only_then(
    tmp_path: Path, database: sqlite3.Connection
) -> None:
    before = db.version(database)
    with database:
        db.write_digests(database, [("own", ("stamp", "digest"))])
    assert db.version(database) == before
    with contextlib.closing(db.connect(tmp_path)) as other, other:
        db.write_digests(other, [("others", ("stamp", "digest"))])
    assert db.version(database) != before


def test_a_reader_writes_nothing_and_leaves_no_file(tmp_path: Path) -> None:
    db.connect(tmp_path).close()
    before = {path.name for path in tmp_path.iterdir()}
    with contextlib.closing(db.connect_read_only(tmp_path)) as reader:
        db.check_format(reader, tmp_path)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.write_digests(reader, [("key", ("stamp", "digest"))])
    assert {path.name for path in tmp_path.iterdir()} == before


def test_another_format_is_refused_with_both_numbers(tmp_path: Path, database: sqlite3.Connection) -> None:
    database.execute(f"PRAGMA user_version = {db.FORMAT + 1}")
    with pytest.raises(StoreError, match=f"has format {db.FORMAT + 1}.* reads format {db.FORMAT}") as caught:
        db.check_format(database, tmp_path)
    assert "--store DIR" in str(caught.value.hint)


def test_an_empty_journal_that_a_power_cut_brought_back_is_removed(tmp_path: Path) -> None:
    db.connect(tmp_path).close()
    (tmp_path / "state.db-journal").touch()
    db.connect(tmp_path).close()
    assert not (tmp_path / "state.db-journal").exists()
