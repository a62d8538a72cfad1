"""A store without records is one whose records were lost if something lies in it that only we make."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.errors import StoreError
from bangerbuild.store import lost
from tests.store.test_contents import publish

if TYPE_CHECKING:
    from pathlib import Path

FINGERPRINT = "0123456789abcdef" * 2


@pytest.mark.parametrize("path", [f"images/debian/{FINGERPRINT}/rootfs.ext4", "vms/web/root.cow"])
def test_what_only_we_make_is_a_sign_and_nobody_writes_then(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert lost.has_artifacts(tmp_path)
    with pytest.raises(StoreError, match="has artifacts and no records") as caught:
        store.read(tmp_path).check_records()
    assert "`bangerbuild recover`" in str(caught.value.hint)
    with (
        pytest.raises(StoreError, match="has artifacts and no records"),
        store.writing(tmp_path, timeout_seconds=0),
    ):
        pass


@pytest.mark.parametrize(
    "path", ["vms/web/work.ext4", "vms/web/root.ext4", "images/debian/mine/rootfs.ext4", "notes/root.cow"]
)
def test_a_disk_that_a_user_puts_there_is_none(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert not lost.has_artifacts(tmp_path)
    store.read(tmp_path).check_records()
    with store.writing(tmp_path, timeout_seconds=0):
        pass


def test_stamps_alone_are_no_records(tmp_path: Path) -> None:
    artifact = f"images/debian/{FINGERPRINT}/rootfs.ext4"
    publish(tmp_path, {artifact: "an image"})
    store.read(tmp_path).check_records()
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as database, database:
        database.execute("DELETE FROM records")
    assert set(store.read(tmp_path).stamps) == {artifact}
    with pytest.raises(StoreError, match="has artifacts and no records"):
        store.read(tmp_path).check_records()
