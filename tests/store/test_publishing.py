"""What is published of a job: an intent that says it all, and renames of all its files or of none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bangerbuild.model import Recipe, Record
from bangerbuild.model.fingerprint import canonical_json, record_to_json
from bangerbuild.store.publishing import Publication, Staged, put_in_place
from bangerbuild.store.stamps import Stamp

if TYPE_CHECKING:
    from pathlib import Path

CHANGED = Stamp(1, 2, 3, "digest")


def job(directory: Path, *artifacts: str) -> Staged:
    """A finished job that made these, each with its own name in it."""
    files = {}
    for number, artifact in enumerate(artifacts):
        (directory / "staging").mkdir(exist_ok=True)
        files[artifact] = directory / "staging" / f"{artifact.replace('/', '-')}-{number}"
        files[artifact].write_text(artifact)
    records = tuple(Record(name, Recipe("fake", {}, {}, {}, {}), "f", (name,)) for name in artifacts)
    return Staged(records, files, changed={"old": CHANGED}, written={"patch": {"/b": "2", "/a": "1"}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def test_the_intent_is_the_canonical_json_of_all_that_will_be_remembered(tmp_path: Path) -> None:
    made = job(tmp_path, "vms/b", "vms/a")
    publication = Publication.of(made)
    text = publication.intent()
    said = json.loads(text)
    assert text == canonical_json(said)
    assert said["records"] == {record.id: record_to_json(record) for record in made.records}
    assert said["written"] == {"patch": {"/a": "1", "/b": "2"}}
    assert {name: Stamp.from_json(stamp) for name, stamp in said["stamps"].items()} == publication.stamps
    assert publication.stamps["old"] == CHANGED
    assert publication.stamps["vms/a"].fits(made.files["vms/a"].stat())


def test_files_take_their_places_and_every_changed_directory_is_named(tmp_path: Path, root: Path) -> None:
    (root / "vms").mkdir()
    refused, changed = put_in_place(root, [job(tmp_path, "vms/web/root.cow", "vms/file")], lambda _: True)
    assert refused == []
    assert (root / "vms/web/root.cow").read_text() == "vms/web/root.cow"
    assert changed >= {str(root / "vms"), str(root / "vms/web")}


def test_a_job_takes_all_its_places_or_none(tmp_path: Path, root: Path) -> None:
    first, second = job(tmp_path, "vms/a", "vms/b"), job(tmp_path, "vms/c")
    refused, _ = put_in_place(root, [first, second], lambda artifact: artifact != "vms/b")
    assert refused == [first]
    assert {path.name for path in (root / "vms").iterdir()} == {"c"}


def test_what_lies_beside_a_disk_that_was_changed_by_half_goes_with_it(tmp_path: Path, root: Path) -> None:
    (root / "vms").mkdir()
    for name in ("a.ext4", "a.ext4.redo", "b.ext4.redo"):
        (root / "vms" / name).write_text("old")
    put_in_place(root, [job(tmp_path, "vms/a.ext4")], lambda _: True)
    assert {path.name for path in (root / "vms").iterdir()} == {"a.ext4", "b.ext4.redo"}
