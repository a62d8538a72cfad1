"""Rows of a store's database to values: every row is checked, for somebody else may have written it.

What a row may hold is what this program writes. A row that holds anything else is named in one error, whose
way out is `bangerbuild recover`.
"""

from __future__ import annotations

import json
import re
import sqlite3
from typing import TYPE_CHECKING, NoReturn, cast

from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.model.artifacts import TOPS
from bangerbuild.model.fingerprint import record_from_json
from bangerbuild.store.stamps import Stamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from bangerbuild.model import Json, Record

    Intent: TypeAlias = dict[str, dict[str, Json]]

_RECORD_KEYS = {"recipe", "fingerprint", "artifacts", "facts"}
_RECIPE_KEYS = {"kind", "fields", "inputs", "sources", "tools"}
_INTENT_KEYS = {"records", "stamps", "written"}
MOVED = "moved"
"""The key of an intent for VMs that get another name; most intents have none."""
_VM = re.compile("[a-z0-9][a-z0-9_-]{0,62}")
_WORD_TABLES = ("inputs", "sources", "tools")
_TEXT, _NUMBER = {str}, {int}
COLUMNS = 5
"""Of a stamp: size, mtime, inode, digest and whether it is a guest's."""
_NUMBERS = {"file_bytes", "size_bytes", "declared_bytes"}
_WORDS = {"format", "mount_point", "form", "release", "source", "guest"}
_CHECKED_FACTS = {"base", *_NUMBERS, *_WORDS}
_MOST_BYTES = (1 << 63) - 1


class DamagedRowError(sqlite3.DatabaseError):
    """A row that this program did not write."""


def _refuse(row: str, why: str) -> NoReturn:
    raise DamagedRowError(f"{row} is damaged: {why}")


def record(step_id: object, body: object) -> Record:
    """A row of `records`.

    Raises:
        DamagedRowError: it holds something else.
    """
    name = _checked_id(step_id, "a record")
    return _record(name, _document(body, f"the record of '{name}'"))


def _record(step_id: str, body: Json) -> Record:
    """There may be ten thousand records: each is checked with few calls."""
    row = f"the record of '{step_id}'"
    table = _table(body, _RECORD_KEYS, row)
    recipe = _table(table["recipe"], _RECIPE_KEYS, row)
    artifacts, facts = table["artifacts"], table["facts"]
    if type(recipe["kind"]) is not str or type(table["fingerprint"]) is not str:
        _refuse(row, "its kind or its fingerprint is no text")
    if type(recipe["fields"]) is not dict or type(facts) is not dict:
        _refuse(row, "its fields or its facts are no table")
    for key in _WORD_TABLES:
        words = recipe[key]
        if type(words) is not dict or not _TEXT.issuperset(map(type, words.values())):
            _refuse(row, f"its {key} are no table of text")
    if type(artifacts) is not list or not artifacts:
        _refuse(row, "it names no artifacts")
    _check_artifacts(step_id, artifacts, row)
    check_facts(facts, row)
    return record_from_json(step_id, table)


def check_facts(facts: Mapping[str, Json], row: str) -> None:
    """Check what a record remembers of a run, which `row` names.

    Raises:
        DamagedRowError: this program does not remember such.
    """
    for key in _CHECKED_FACTS.intersection(facts):
        _check_fact(key, facts[key], row)


def _check_artifacts(step_id: str, artifacts: list[Json], row: str) -> None:
    """A step makes files of its own VM, image or network alone: what names others may have them removed."""
    owner, _, rest = step_id.partition(".")
    own = f"{TOPS[owner]}/{rest.partition('.')[0]}/" if owner in TOPS else ""
    for artifact in artifacts:
        path = _checked_path(artifact, row)
        if not path.startswith(own) and path.owner:
            _refuse(row, f"'{artifact}' is of something else")


def _check_fact(key: str, value: Json, row: str) -> None:
    if key == "base":
        _checked_path(value, row)
    elif key in _NUMBERS and not (value is None or (type(value) is int and 0 <= value <= _MOST_BYTES)):
        _refuse(row, f"'{key}' is no size")
    elif key in _WORDS and not (value is None or type(value) is str):
        _refuse(row, f"'{key}' is no text")


def stamp(path: object, columns: object) -> tuple[str, Stamp]:
    """A row of `stamps`: size, mtime, inode, digest and whether it is a guest's."""
    row = f"the stamp of '{path}'"
    artifact = _checked_path(path, row)
    if type(columns) is not list or len(columns) != COLUMNS:
        _refuse(row, "it has not five columns")
    size, mtime_ns, inode, digest, guest = columns
    if not _NUMBER.issuperset((type(size), type(mtime_ns), type(inode))) or size < 0:
        _refuse(row, "its size, mtime or inode is no number")
    if type(digest) is not str or guest not in (0, 1):
        _refuse(row, "its digest is no text, or it is not said whose it is")
    return artifact, Stamp(size, mtime_ns, inode, digest, bool(guest))


def digest(key: object, stamp: object, digest: object) -> tuple[str, tuple[str, str]]:
    """A row of `digests`."""
    row = f"the digest of '{key}'"
    return _word(key, row), (_word(stamp, row), _word(digest, row))


def origin(owner: object, manifest: object) -> tuple[str, str]:
    """A row of `origins`."""
    row = f"the origin of '{owner}'"
    return _checked_id(owner, row), _word(manifest, row)


def ledger(step_id: str, body: object) -> dict[str, str]:
    """A row of `files`: what a patch wrote, by guest path."""
    row = f"the row of files of '{step_id}'"
    return _ledger(_document(body, row), row)


def _ledger(lines: Json, row: str) -> dict[str, str]:
    if not isinstance(lines, dict) or not all(isinstance(line, str) for line in lines.values()):
        _refuse(row, "it holds something else than lines")
    _check_guest_paths(lines, row)
    return cast("dict[str, str]", lines)


def unconfirmed(step_id: str, body: object) -> dict[str, list[str]]:
    """A row of `files` with what runs were about to write: lines by guest path."""
    row = f"the row of files of '{step_id}~'"
    some = _document(body, row)
    if not isinstance(some, dict) or not all(
        isinstance(lines, list) and all(isinstance(line, str) for line in lines) for lines in some.values()
    ):
        _refuse(row, "it holds something else than lists of lines")
    _check_guest_paths(some, row)
    return cast("dict[str, list[str]]", some)


def intent(session: object, body: object) -> tuple[str, Intent]:
    """A row of `intents`: the session's name, and what it was about to publish."""
    name = _word(session, "the session of an intent")
    row = f"the intent of session '{name}'"
    if "/" in name or name in {"", ".", ".."}:
        _refuse(row, "that is no name of a session")
    table = _table(_document(body, row), None, row)
    moved = _moved(table.pop(MOVED, {}), row)
    _table(table, _INTENT_KEYS, row)
    parts = {key: _table(table[key], None, row) for key in _INTENT_KEYS} | {MOVED: moved}
    for step_id, one in parts["records"].items():
        _record(_checked_id(step_id, row), one)
    for path, one in parts["stamps"].items():
        stamp(path, one)
    for step_id, one in parts["written"].items():
        _checked_id(step_id, row)
        _ledger(one, row)
    return name, parts


def _moved(value: Json, row: str) -> dict[str, Json]:
    """VMs that get another name, by the old one."""
    names = _table(value, None, row)
    if not all(isinstance(name, str) and _VM.fullmatch(name) for both in names.items() for name in both):
        _refuse(row, "it moves what is no VM")
    return names


def _document(body: object, row: str) -> Json:
    if not isinstance(body, str):
        _refuse(row, f"it is no text but {type(body).__name__}")
    try:
        return cast("Json", _DECODER.decode(body))
    except RecursionError:
        _refuse(row, "it is nested too deeply")
    except ValueError as err:
        _refuse(row, f"it is no JSON: {err}")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _table(value: Json, keys: set[str] | None, row: str) -> dict[str, Json]:
    if type(value) is not dict:
        _refuse(row, "there is no table where one belongs")
    if keys is not None and value.keys() != keys:
        _refuse(row, f"it has not the keys {', '.join(sorted(keys))}")
    return value


def _word(value: object, row: str) -> str:
    if not isinstance(value, str):
        _refuse(row, f"it is no text but {type(value).__name__}")
    return value


def _checked_id(value: object, row: str) -> StepId:
    try:
        return StepId.checked(_word(value, row))
    except ValueError as err:
        _refuse(row, str(err))


def _checked_path(value: object, row: str) -> ArtifactPath:
    try:
        return ArtifactPath.checked(value)
    except ValueError as err:
        _refuse(row, str(err))


def _check_guest_paths(lines: Mapping[str, Json], row: str) -> None:
    for path in lines:
        if not path.startswith("/") or "\0" in path or not _is_encodable(path):
            _refuse(row, f"'{path}' is no path in a guest")


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
