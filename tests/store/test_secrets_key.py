"""The store's key for digests of secrets: made once, kept, and made anew if it is lost."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import StoreError
from bangerbuild.store import secrets_key

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER = bytes(32), bytes([1] * 32)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / ".staging").mkdir()
    return tmp_path / ".staging"


def test_the_first_key_is_kept_and_nobody_elses_to_read(tmp_path: Path, staging: Path) -> None:
    assert secrets_key.read(tmp_path) is None
    assert secrets_key.keep(tmp_path, staging, KEY) == KEY
    assert secrets_key.keep(tmp_path, staging, OTHER) == secrets_key.read(tmp_path) == KEY
    assert stat.S_IMODE((tmp_path / secrets_key.NAME).stat().st_mode) == 0o600
    assert list(staging.iterdir()) == []


def test_a_damaged_key_is_no_key(tmp_path: Path, staging: Path) -> None:
    (tmp_path / secrets_key.NAME).write_bytes(KEY[:7])
    assert secrets_key.read(tmp_path) is None
    assert secrets_key.keep(tmp_path, staging, OTHER) == secrets_key.read(tmp_path) == OTHER


def test_of_two_writers_at_once_one_makes_it(
    tmp_path: Path, staging: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = secrets_key._write

    def later(draft: Path, key: bytes) -> None:
        made(draft, key)
        (staging / "theirs").mkdir()
        monkeypatch.setattr(secrets_key, "_write", made)
        secrets_key.keep(tmp_path, staging / "theirs", OTHER)
        monkeypatch.setattr(os.path, "lexists", lambda _: False)  # it looked before

    monkeypatch.setattr(secrets_key, "_write", later)
    assert secrets_key.keep(tmp_path, staging, KEY) == secrets_key.read(tmp_path) == OTHER


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_else_lies_there_is_refused(tmp_path: Path, kind: str) -> None:
    place = tmp_path / secrets_key.NAME
    if kind == "symlink":
        (tmp_path / "elsewhere").write_bytes(KEY)
        place.symlink_to("elsewhere")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises(StoreError, match=secrets_key.NAME):
        secrets_key.read(tmp_path)


def test_new_keys_differ() -> None:
    assert len({secrets_key.new() for _ in range(8)}) == 8
