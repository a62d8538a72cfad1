"""Rows of the database: what this program writes comes back. tests/hostile has what it does not write."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bangerbuild.model import Recipe, Record
from bangerbuild.model.fingerprint import record_to_json
from bangerbuild.store import rows
from bangerbuild.store.stamps import Stamp

RECORD = Record(
    "vm.web.root",
    Recipe("root-overlay", {"root.size": None}, {"image.a.rootfs": "f"}, {"role": "digest"}, {"tool": "1"}),
    "fingerprint",
    ("vms/web/root.cow",),
    {"base": "images/a/f/rootfs.ext4", "format": "snapshot", "file_bytes": 4096, "declared_bytes": None},
)
BODY = json.dumps(record_to_json(RECORD))


def test_a_record_comes_back() -> None:
    assert rows.record(RECORD.id, BODY) == RECORD


def test_a_stamp_comes_back() -> None:
    stamp = Stamp(1, -1, 2, "digest", guest=True)
    assert rows.stamp("vms/a", stamp.to_json()) == ("vms/a", stamp)


def test_ledgers_come_back() -> None:
    assert rows.ledger("patch", '{"/etc/a":"line"}') == {"/etc/a": "line"}
    assert rows.unconfirmed("patch", '{"/etc/a":["one","two"]}') == {"/etc/a": ["one", "two"]}


def test_an_intent_comes_back() -> None:
    body = {
        "records": {RECORD.id: json.loads(BODY)},
        "stamps": {"vms/a": [1, 2, 3, "", False]},
        "written": {"patch": {"/a": "line"}},
    }
    assert rows.intent("session", json.dumps(body)) == ("session", {**body, "moved": {}})
    moving = {**body, "moved": {"old": "new"}}
    assert rows.intent("session", json.dumps(moving)) == ("session", moving)


@pytest.mark.parametrize(
    "moved", [[], {"../up": "new"}, {"old": "a/b"}, {"old": 1}, {"": "new"}, {"old": None}]
)
def test_an_intent_moves_nothing_but_vms(moved: object) -> None:
    body = {"records": {}, "stamps": {}, "written": {}, "moved": moved}
    with pytest.raises(rows.DamagedRowError, match="is damaged"):
        rows.intent("session", json.dumps(body))


@pytest.mark.parametrize("table", ["records", "written"])
@pytest.mark.parametrize("step_id", ["", "/victim/vm.web", "vm.web/../../x", "vm..root", "vm.a\0", "v" * 300])
def test_an_intent_is_of_steps_alone(table: str, step_id: str) -> None:
    one = json.loads(BODY) if table == "records" else {}
    body = {"records": {}, "stamps": {}, "written": {}, table: {step_id: one}}
    with pytest.raises(rows.DamagedRowError, match="is no id of a step"):
        rows.intent("session", json.dumps(body))


def test_a_damaged_row_says_which_row_and_what_is_wrong() -> None:
    with pytest.raises(rows.DamagedRowError) as caught:
        rows.record("vm.web.root", '{"recipe":{}}')
    assert str(caught.value).startswith("the record of 'vm.web.root' is damaged: it has not the keys ")


@pytest.mark.parametrize(
    ("step_id", "artifact"),
    [
        ("vm.zz.root", "vms/web/work.ext4"),
        ("vm.web.root", "images/web/00000000000000000000000000000000/rootfs.ext4"),
        ("image.a.rootfs", "images/b/00000000000000000000000000000000/rootfs.ext4"),
        ("network.lan.files", "vms/lan/up.sh"),
    ],
)
def test_a_record_names_no_files_of_others(step_id: str, artifact: str) -> None:
    body = json.dumps(record_to_json(replace(RECORD, id=step_id, artifacts=(artifact,))))
    with pytest.raises(rows.DamagedRowError, match=f"'{artifact}' is of something else"):
        rows.record(step_id, body)
