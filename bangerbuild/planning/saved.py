"""A reviewed plan as a document: what was asked for, and all that has to hold when it is done.

It is canonical JSON, the same for the same plan, with a digest over all the rest, so that damage is told from
what has moved. No secret is in it, and nothing of it is ever executed: it is compared with a plan made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bangerbuild.model import Verb
from bangerbuild.model.fingerprint import canonical_json, recipe_from_json, recipe_to_json
from bangerbuild.model.request import Request
from bangerbuild.planning.reviewed import Decided, Reviewed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.model import Json, Recipe

MARK = "bangerbuild_plan"
"""The key that tells a saved plan from other JSON; its value is the version of the format."""
VERSION = 1
_DIGEST = "digest"
_NAME_TABLES = ("inputs", "sources", "tools")


class SavedPlanError(ValueError):
    """A document that is no saved plan, or can't be used: why."""


@dataclass(frozen=True)
class SavedPlan:
    """A plan that was reviewed, and what it was made from."""

    request: Request
    """Its paths are as they were typed."""
    directory: Path
    """Where they were typed."""
    reviewed: Reviewed

    def text(self) -> str:
        """The document."""
        request, held = self.request, self.reviewed
        body: dict[str, Json] = {
            MARK: VERSION,
            "directory": str(self.directory),
            "manifests": list(map(str, request.manifests)),
            "store": None if request.store is None else str(request.store),
            "node": request.node,
            "targets": list(request.targets),
            "replace": list(request.replace),
            "offline": request.offline,
            "locked": request.locked,
            "variables": dict(request.variables),
            "variable_files": list(map(str, request.variable_files)),
            "store_directory": held.store,
            "source_date_epoch": held.epoch,
            "pins": dict(held.pins),
            "leases": dict(held.leases),
            "moves": dict(held.moves),
            "actions": {step_id: _action_json(one) for step_id, one in held.actions.items()},
        }
        return json.dumps(body | {_DIGEST: _digest(body)}, indent=1, sort_keys=True) + "\n"


def parsed(text: str) -> SavedPlan:
    """The plan in a document.

    Raises:
        SavedPlanError: it is none, or can't be used.
    """
    body = _body(text)
    strings = {name: _strings(body, name) for name in ("manifests", "targets", "replace", "variable_files")}
    names = {name: _names(body, name) for name in ("variables", "pins", "leases", "moves")}
    store, node = body.get("store"), body.get("node")
    request = Request(
        tuple(map(Path, strings["manifests"])),
        None if store is None else Path(_of(str, store, "store")),
        strings["targets"],
        strings["replace"],
        offline=_of(bool, body.get("offline"), "offline"),
        locked=_of(bool, body.get("locked"), "locked"),
        variables=tuple(names["variables"].items()),
        variable_files=tuple(map(Path, strings["variable_files"])),
        node=None if node is None else _of(str, node, "node"),
    )
    actions = _of(dict, body.get("actions"), "actions")
    reviewed = Reviewed(
        {step_id: _action(one, step_id) for step_id, one in actions.items()},
        names["pins"],
        names["leases"],
        names["moves"],
        _of(str, body.get("store_directory"), "store_directory"),
        _of(str, body.get("source_date_epoch"), "source_date_epoch"),
    )
    return SavedPlan(request, Path(_of(str, body.get("directory"), "directory")), reviewed)


def _body(text: str) -> dict[str, Any]:
    """The document without its digest, which is right."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise SavedPlanError("it is damaged, or was never written to its end") from err
    if not isinstance(body, dict) or MARK not in body:
        raise SavedPlanError("it is JSON, and no plan that `bangerbuild plan --out FILE` has written")
    if body[MARK] != VERSION:
        raise SavedPlanError(f"it is of version {body[MARK]}, and this program reads version {VERSION}")
    found = body.pop(_DIGEST, None)
    try:
        is_right = found == _digest(body)
    except (ValueError, RecursionError) as err:
        raise SavedPlanError("it is damaged") from err
    if not is_right:
        raise SavedPlanError("it was changed since it was written: its digest is another one")
    return body


def _digest(body: Mapping[str, Json]) -> str:
    return f"sha256:{hashlib.sha256(canonical_json(dict(body)).encode()).hexdigest()}"


def _action_json(action: Decided) -> dict[str, Json]:
    document: dict[str, Json] = {"action": action.verb.value, "fingerprint": action.fingerprint}
    return document if action.recipe is None else document | {"recipe": recipe_to_json(action.recipe)}


def _action(document: object, step_id: str) -> Decided:
    body = _of(dict, document, step_id)
    verb = _of(str, body.get("action"), f"{step_id}.action")
    if verb not in set(Verb):
        raise SavedPlanError(f"'{step_id}' has the action '{verb}', which there is not")
    fingerprint = _of(str, body.get("fingerprint"), f"{step_id}.fingerprint")
    recipe = _recipe(body["recipe"], f"{step_id}.recipe") if "recipe" in body else None
    return Decided(Verb(verb), fingerprint, recipe)


def _recipe(document: object, where: str) -> Recipe:
    body = _of(dict, document, where)
    _of(str, body.get("kind"), f"{where}.kind")
    _of(dict, body.get("fields"), f"{where}.fields")
    for table in _NAME_TABLES:
        _names(body, table)
    return recipe_from_json(body)


def _of(kind: type, value: Any, where: str) -> Any:  # noqa: ANN401  # as checked
    if type(value) is not kind:
        raise SavedPlanError(f"'{where}' is missing in it, or of another kind")
    if isinstance(value, str):
        _check_text(value, where)
    return value


def _check_text(text: str, where: str) -> None:
    """Text that no file, variable or address can be named by was not written here."""
    try:
        is_right = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        is_right = False
    if not is_right:
        raise SavedPlanError(f"'{where}' holds text that names nothing")


def _strings(body: Mapping[str, Any], where: str) -> tuple[str, ...]:
    return tuple(_of(str, item, where) for item in _of(list, body.get(where), where))


def _names(body: Mapping[str, Any], where: str) -> dict[str, str]:
    table: dict[str, str] = _of(dict, body.get(where), where)
    for part in (*table, *table.values()):
        _of(str, part, where)
    return table
