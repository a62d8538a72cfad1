"""What a step is made of, what it needs, what would change it, and why it was made last. Asks no source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from bangerbuild import graph as graphs
from bangerbuild import identities, pipeline, report, store
from bangerbuild.errors import few, printable
from bangerbuild.model import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bangerbuild.graph import Graph
    from bangerbuild.model import Action, Json, Recipe, Record, Step
    from bangerbuild.model.request import Request
    from bangerbuild.pipeline import Loaded

_NOT_SHOWN = "(not shown)"
_DIGEST = "sha256:"
_SHORT = 12
"""As many digits of a fingerprint does a person need."""


@dataclass(frozen=True)
class Explanation:
    """All that is known of one step."""

    id: str
    recipe: Recipe
    fingerprint: str
    artifacts: tuple[str, ...]
    place: tuple[str, int] | None = None
    """The file and line of its VM, image or network."""
    action: Action | None = None
    """What the next `apply` does about it; None: it is not declared."""
    record: Record | None = None
    """Of its last run; None: it was never made."""
    needed_by: tuple[str, ...] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    """What it reads, by role: a path as the manifest has it, or the origin of a secret."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The steps that come first."""
        if self.action:
            return tuple(dict.fromkeys((*self.action.step.inputs, *self.action.step.waits_for)))
        return tuple(self.recipe.inputs)

    @property
    def changes(self) -> str | None:
        """The step whose disk it changes in place."""
        return self.action.step.changes if self.action else None


def explained(request: Request, name: str, warn: Callable[[str], None]) -> list[Explanation]:
    """What there is to say of a step, or of all steps of a VM, an image, a network or a fleet.

    Raises:
        UsageError: the name means none.
        ManifestError: a manifest that is named is not there, or nothing was ever built in its store.
    """
    loaded = pipeline.load_to_read(request, warn)
    records = store.read(loaded.store).records
    last = {one.step_id: one for one in records.values()}
    ids = dict.fromkeys((*loaded.whole, *last))
    names = pipeline.expanded(loaded.manifest, (name,))
    chosen = [name] if name in ids else [found for one in names for found in graphs.matching(ids, one)]
    declared = tuple(step_id for step_id in chosen if step_id in loaded.whole)
    actions, known = _actions(loaded, declared, warn)
    places, dependents = pipeline.places(loaded), _dependents(loaded.whole)
    return [
        _declared(actions[step_id], known, places, dependents)
        if step_id in actions
        else _recorded(last[step_id])
        for step_id in chosen
    ]


def _actions(
    loaded: Loaded, declared: tuple[str, ...], warn: Callable[[str], None]
) -> tuple[dict[str, Action], Mapping[str, Record]]:
    """What the next run does about these steps, and the records, under the names that VMs are to have."""
    if not declared:
        return {}, {}
    plan, opened = pipeline.look_leniently(pipeline.narrowed(loaded, declared), warn)
    wanted = set(declared)
    return {action.id: action for action in plan.actions if action.id in wanted}, opened.records


def _dependents(graph: Graph) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for step in graph.values():
        for needed in (*step.inputs, *step.waits_for):
            found.setdefault(needed, {})[step.id] = None
    return {step_id: tuple(names) for step_id, names in found.items()}


def _declared(
    action: Action,
    records: Mapping[str, Record],
    places: Mapping[str, tuple[str, int]],
    dependents: Mapping[str, tuple[str, ...]],
) -> Explanation:
    return Explanation(
        action.id,
        action.recipe,
        action.fingerprint,
        action.artifacts,
        places.get(_owner(action.id)),
        action,
        records.get(action.id) or records.get(f"{action.id}@{action.fingerprint}"),
        dependents.get(action.id, ()),
        paths(action.step),
    )


def _recorded(record: Record) -> Explanation:
    return Explanation(record.step_id, record.recipe, record.fingerprint, record.artifacts, record=record)


def _owner(step_id: str) -> str:
    return ".".join(step_id.split(".", 2)[:2])


def paths(step: Step) -> dict[str, str]:
    """What a step reads, by role: paths as the manifest has them, origins of secrets."""
    return {source.role: identities.removed(source.written) for source in step.sources}


def to_json(found: Explanation) -> dict[str, Json]:
    """The document of one step, but for its format."""
    place = found.place
    return {
        "id": found.id,
        "kind": found.recipe.kind,
        "action": found.action.verb.value if found.action else None,
        "reasons": [one.to_json() for one in found.action.reasons] if found.action else [],
        "file": place[0] if place else None,
        "line": place[1] if place else None,
        "fingerprint": found.fingerprint,
        "artifacts": list(found.artifacts),
        "changes": found.changes,
        "needs": list(found.needs),
        "needed_by": list(found.needed_by),
        "keys": {key: _shown(value) for key, value in sorted(found.recipe.fields.items())},
        "inputs": dict(found.recipe.inputs),
        "sources": {role: found.paths.get(role) for role in sorted(found.recipe.sources)},
        "tools": dict(found.recipe.tools),
        "is_made": found.record is not None,
        "last_made": found.record.made if found.record else None,
        "changed_by": list(changed_by(found)),
    }


def _shown(value: Json) -> Json:
    """A value of a recipe; of a digest nothing, as it may be of something secret."""
    if isinstance(value, str):
        return None if value.startswith(_DIGEST) else identities.removed(value)
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    return value


def changed_by(found: Explanation) -> Iterator[str]:
    """What would have the step made again, or its disk changed."""
    if found.recipe.fields:
        yield "another value of one of its keys"
    if found.recipe.sources:
        yield "another content of what it reads"
    for step_id in found.recipe.inputs:
        yield f"another fingerprint of {step_id}"
    if found.action and found.changes:
        yield "a declared file that is changed in the guest"
    if found.recipe.tools:
        yield "not another version of a tool: what is there stays as it is"


def lines(found: Explanation) -> Iterator[str]:
    """What is said of one step."""
    yield f"{found.id} ({found.recipe.kind})"
    for title, texts in _sections(found):
        for index, text in enumerate(texts):
            yield f"  {title if index == 0 else '':<11}{printable(text)}".rstrip()


def _sections(found: Explanation) -> Iterator[tuple[str, Sequence[str]]]:
    recipe = found.recipe
    yield "declared", [_place(found)]
    yield "makes", [f"changes {found.changes} in place"] if found.changes else found.artifacts
    yield "next apply", _next(found)
    yield "last made", _last(found)
    yield "needs", [few(found.needs, "steps")] if found.needs else []
    yield "needed by", [few(found.needed_by, "steps")] if found.needed_by else []
    yield "keys", list(keys(recipe.fields))
    yield (
        "reads",
        [f"{found.paths.get(role, 'what is elsewhere')} ({role})" for role in sorted(recipe.sources)],
    )
    yield "inputs", [f"{name} {fingerprint[:_SHORT]}" for name, fingerprint in recipe.inputs.items()]
    yield "tools", [f"{name} {version}" for name, version in sorted(recipe.tools.items())]
    yield "changed by", list(changed_by(found))


def _place(found: Explanation) -> str:
    if found.place:
        return f"{found.place[0]}:{found.place[1]}"
    return "yes" if found.action else "no longer, or by another manifest"


def _next(found: Explanation) -> list[str]:
    if found.action is None:
        return []
    reasons = [report.reason(one) for one in found.action.reasons]
    return (
        [f"{found.action.verb.value}: {reasons[0]}", *reasons[1:]] if reasons else [found.action.verb.value]
    )


def _last(found: Explanation) -> list[str]:
    if found.record is None:
        return ["never"]
    made = found.record.made
    if not isinstance(made, dict):
        return ["it is not known why: by an older version, or its record was recovered"]
    reasons = list(_reasons(made.get("reasons")))
    return [f"{made.get('action')}: {reasons[0]}", *reasons[1:]] if reasons else [str(made.get("action"))]


def _reasons(documents: Json) -> Iterator[str]:
    """Reasons out of a record, in words; what nobody can read is left out."""
    for document in documents if isinstance(documents, list) else []:
        try:
            facts = dict(cast("dict[str, Json]", document))
            yield report.reason(Reason(ReasonCode(str(facts.pop("code"))), facts))
        except (KeyError, TypeError, ValueError):
            continue


def keys(fields: Mapping[str, Json]) -> Iterator[str]:
    """The keys of a recipe and their values, as a manifest would have them; of a digest the key alone."""
    for key, value in sorted(fields.items()):
        if isinstance(value, dict):
            yield from keys({f"{key}.{name}": part for name, part in value.items()})
        elif isinstance(value, str) and value.startswith(_DIGEST):
            yield f"{key} {_NOT_SHOWN}"
        elif value is not None:
            yield f"{key} = {report.shown_value(key, _shown(value))}"
