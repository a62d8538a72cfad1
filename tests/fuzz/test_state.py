"""Records of a store: rows of any value are one error that names them, and other bytes are no database."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given

from bangerbuild import store as stores
from bangerbuild.store import database, rows, salvage
from bangerbuild.store.rows import DamagedRowError
from tests.fuzz.frame import Specimen, assert_is_one_line, damaged, damaged_json, few, within_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.frame import Place

RECORD: dict[str, Any] = {
    "recipe": {
        "kind": "root",
        "fields": {"a": 1, "b": [None, True, 1.5]},
        "inputs": {"image.a.rootfs": "0" * 64},
        "sources": {"rootfs.tar": "sha256:" + "1" * 64},
        "tools": {"e2fsprogs": "1.47.0"},
    },
    "fingerprint": "2" * 64,
    "artifacts": ["vms/a/root.cow"],
    "facts": {"base": "images/a/0/rootfs.ext4", "file_bytes": 5, "format": "snapshot", "guest": None},
}
STAMP = ["vms/a/root.cow", [4096, 1, 2, "3" * 64, 0]]
FILES = {"/etc/hosts": "text 0644 0:0 4", "/srv/\udcff": "dir"}
INTENT = {"records": {"vm.a.root": RECORD}, "stamps": {STAMP[0]: STAMP[1]}, "written": {"vm.a.root": FILES}}
READERS: dict[str, tuple[Any, Callable[[object], object]]] = {
    "record": (RECORD, lambda body: rows.record("vm.a.root", body)),
    "ledger": (FILES, lambda body: rows.ledger("vm.a.root.patch", body)),
    "unconfirmed": ({"/a": ["x", "y"]}, lambda body: rows.unconfirmed("vm.a.root.patch", body)),
    "intent": (INTENT, lambda body: rows.intent("s", body)),
}


def read(kind: str, body: object) -> None:
    with within_limits():
        try:
            READERS[kind][1](body)
        except DamagedRowError as err:
            assert_is_one_line(err, " is damaged: ")


@few(300)
@given(document=damaged_json([{kind: specimen for kind, (specimen, _) in READERS.items()}]))
def test_rows_of_other_values(document: Any) -> None:  # noqa: ANN401
    for kind in READERS:
        if isinstance(document, dict) and kind in document:
            read(kind, json.dumps(document[kind]))


@few(100)
@given(data=damaged([json.dumps(specimen).encode() for specimen, _ in READERS.values()]))
@example(data=b"[" * 100_000)
@example(data=b'{"recipe": ' + b"9" * 5000 + b"}")
def test_rows_that_are_no_json(data: bytes) -> None:
    for kind in READERS:
        read(kind, data)
        read(kind, data.decode(errors="surrogateescape"))


@few(100)
@given(stamp=damaged_json([STAMP]))
def test_stamps_of_other_values(stamp: Any) -> None:  # noqa: ANN401
    if isinstance(stamp, list) and len(stamp) > 1:
        with within_limits(), contextlib.suppress(DamagedRowError):
            rows.stamp(stamp[0], stamp[1])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("store")
    with database.connect(path) as connection:
        database.write_records(connection, {"vm.a.root": json.dumps(RECORD)})
        database.write_files(connection, {"vm.a.root.patch": json.dumps(FILES)})
        connection.execute("INSERT INTO stamps VALUES (?, 1, 2, 3, 'x', 0)", (STAMP[0],))
    connection.close()
    return Specimen((path / "state.db").read_bytes())


@few(80)
@given(data=damaged([b"\0" * 100], range(100)))
def test_a_database_of_other_bytes(place: Place, sound: bytes, data: bytes) -> None:
    """Its header and the pages behind it, each changed where the small specimen was."""
    place.clear()
    changed = bytearray(sound)
    for at, byte in enumerate(data[:100]):
        changed[at] ^= byte
        changed[(at * 641 + 100) % len(changed)] ^= byte
    (place.inside / "state.db").write_bytes(changed[: len(changed) - (100 - len(data[:100])) * 500])
    with within_limits():
        salvage.read(place.inside)
    with within_limits():
        stores.read(place.inside)
    place.assert_nothing_else_was_touched()


def test_the_specimens_are_read(place: Place, sound: bytes) -> None:
    for kind, (specimen, reader) in READERS.items():
        assert reader(json.dumps(specimen)), kind
    assert rows.stamp(STAMP[0], STAMP[1])
    (place.inside / "state.db").write_bytes(sound)
    assert salvage.read(place.inside).is_intact
    assert sqlite3.sqlite_version
