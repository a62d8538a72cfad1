"""What is read of a damaged database, and where its files go."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import StoreError
from bangerbuild.model import Recipe, Record
from bangerbuild.store import database as db
from bangerbuild.store import salvage
from bangerbuild.store.stamps import Stamp

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [Record(f"vm.{name}.root", Recipe("r", {}, {}, {}, {}), "f", (f"vms/{name}/a",)) for name in "ab"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with contextlib.closing(db.connect(tmp_path)) as database, database:
        db.write_records(database, {record.id: db.body_of(record) for record in RECORDS})
        db.write_stamps(database, {"vms/a/a": Stamp(1, 2, 3, "digest")})
        db.write_files(database, {"vm.a.root.patch": '{"/etc/a":"line"}'})
        db.write_origins(database, {"vm.a": "../vm.toml", "vm.b": "../vm.toml"})
    return tmp_path


def execute(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path / db.NAME)) as database, database:
        database.execute(statement)


def test_a_sound_database_is_intact(path: Path) -> None:
    found = salvage.read(path)
    assert (found.is_intact, found.is_missing, found.faults) == (True, False, [])
    assert found.records == {record.id: record for record in RECORDS}
    assert found.written == {"vm.a.root.patch": {"/etc/a": "line"}}
    assert found.origins == {"vm.a": "../vm.toml", "vm.b": "../vm.toml"}


def test_rows_that_are_sound_are_kept_beside_damaged_ones(path: Path) -> None:
    execute(path, "UPDATE records SET body = '{' WHERE id = 'vm.a.root'")
    found = salvage.read(path)
    assert not found.is_intact
    assert found.records.keys() == {"vm.b.root"}
    assert found.stamps == {"vms/a/a": Stamp(1, 2, 3, "digest")}
    assert len(found.faults) == 1
    assert "the record of 'vm.a.root' is damaged" in found.faults[0]


def test_a_manifest_that_is_no_text_is_a_damaged_row_like_any_other(path: Path) -> None:
    execute(path, "UPDATE origins SET manifest = x'ff00' WHERE owner = 'vm.b'")
    found = salvage.read(path)
    assert (found.is_intact, found.origins) == (False, {"vm.a": "../vm.toml"})
    assert "the origin of 'vm.b' is damaged" in found.faults[0]


def test_of_a_missing_table_the_others_are_kept(path: Path) -> None:
    execute(path, "DROP TABLE stamps")
    found = salvage.read(path)
    assert (len(found.records), found.stamps) == (2, {})
    assert found.faults == ["no such table: stamps"]


def test_of_what_is_no_database_nothing_is_read(path: Path) -> None:
    (path / db.NAME).write_bytes(b"notes" * 1000)
    found = salvage.read(path)
    assert (found.is_intact, found.records) == (False, {})
    assert found.faults == ["file is not a database"]


def test_what_lies_in_the_place_of_the_log_is_no_damage_of_the_database(path: Path) -> None:
    os.mkfifo(path / f"{db.NAME}-wal")
    with pytest.raises(StoreError, match=r"state\.db-wal' is no regular file"):
        salvage.read(path)


def test_a_missing_database_is_none(tmp_path: Path) -> None:
    assert salvage.read(tmp_path) == salvage.Salvaged(is_missing=True)


def test_one_of_a_later_version_is_refused(path: Path) -> None:
    execute(path, f"PRAGMA user_version = {db.FORMAT + 1}")
    with pytest.raises(StoreError, match="has format"):
        salvage.read(path)


def test_files_that_are_set_aside_keep_their_bytes_and_never_take_anothers_place(tmp_path: Path) -> None:
    assert salvage.set_aside(tmp_path) is None
    for number, name in enumerate(("state.db.damaged", "state.db.damaged.2")):
        (tmp_path / "state.db").write_text(f"database {number}")
        (tmp_path / "state.db-wal").write_text(f"log {number}")
        assert salvage.set_aside(tmp_path) == tmp_path / name
        assert (tmp_path / name).read_text() == f"database {number}"
        assert (tmp_path / f"{name}-wal").read_text() == f"log {number}"
    assert not list(tmp_path.glob("state.db-*"))
