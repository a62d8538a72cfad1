"""Text and JSON for plans, results and errors. `cli` and `reporters` print what is made here."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, cast

from bangerbuild.errors import MOST_NAMED, ManifestError, few, printable, readable_size
from bangerbuild.model import Outcome, ReasonCode, StepId, Verb
from bangerbuild.report.alike import Alike
from bangerbuild.report.fleets import Group, grouped, nameless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from bangerbuild.errors import BangerError, Problem
    from bangerbuild.model import Action, Json, Plan, Reason, Relocation, Result

    Complete: TypeAlias = Callable[[str], str]

DIFF_LINES = 40
"""The most lines of one file's diff in text output; JSON has all of them."""
MOST_DETAILS = 16
VALUE_LENGTH = 60
PENDING = (Verb.CREATE, Verb.FETCH, Verb.MOVE, Verb.ADOPT, Verb.UPDATE, Verb.GROW, Verb.REPLACE)
GREEN, YELLOW, RED, PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
COLOURS = {
    Verb.CREATE: GREEN,
    Verb.FETCH: GREEN,
    Verb.MOVE: YELLOW,
    Verb.ADOPT: GREEN,
    Verb.UPDATE: YELLOW,
    Verb.GROW: YELLOW,
    Verb.REPLACE: RED,
    Verb.BLOCKED: RED,
}


def reason(value: Reason) -> str:
    """A reason as text."""
    return printable(REASONS[value.code](value.facts))


def _sized(facts: Mapping[str, Json]) -> str:
    return f"{readable_size(cast('int', facts['old']))} -> {readable_size(cast('int', facts['new']))}"


def _recipe_changed(facts: Mapping[str, Json]) -> str:
    key = str(facts["key"])
    if "old" not in facts:
        return f"{key} changed"
    old, new = facts["old"], facts["new"]
    if old is None or new is None:
        value = new if old is None else old
        shown = "" if isinstance(value, dict) else f": {shown_value(key, value)}"
        return f"{key} {'added' if old is None else 'removed'}{shown}"
    return f"{key}: {shown_value(key, old)} -> {shown_value(key, new)}"


def shown_value(key: str, value: Json) -> str:
    """A value in the notation of the manifest."""
    if isinstance(value, list):
        return ", ".join(shown_value(key, item) for item in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        name = key.rpartition(".")[2]
        return (
            f"{value:04o}"
            if name == "mode"
            else readable_size(value)
            if name.startswith("size")
            else str(value)
        )
    text = str(value)
    return text if len(text) <= VALUE_LENGTH else f"{text[: VALUE_LENGTH - 3]}..."


def _modified(facts: Mapping[str, Json]) -> str:
    error, hint = facts.get("error"), facts.get("hint")
    if not error:
        return f"{facts['path']} was changed by someone else"
    return f"{error} ({hint})" if hint else str(error)


def _would_fail(facts: Mapping[str, Json]) -> str:
    """What the run would fail at, with what else it would say, on one line."""
    details = [line.strip() for line in str(facts.get("details") or "").splitlines()][:MOST_DETAILS]
    listed = f" ({'; '.join(details)})" if details else ""
    return f"{facts['message']}{listed}"


def _base_unknown(facts: Mapping[str, Json]) -> str:
    if "missing" in facts:
        return f"the image it stands on is gone: {facts['missing']}"
    if "recorded" in facts:
        return f"it was made on {facts['base']}, and not on {facts['recorded']} as recorded: another VM's?"
    return "no record says which base it stands on"


REASONS: dict[ReasonCode, Callable[[Mapping[str, Json]], str]] = {
    ReasonCode.MISSING: lambda facts: "no record of it" if facts.get("record") else "missing",
    ReasonCode.RECIPE_CHANGED: _recipe_changed,
    ReasonCode.SOURCE_CHANGED: lambda facts: f"{facts['path']} changed",
    ReasonCode.INPUT_CHANGED: lambda facts: f"{facts['id']} changed",
    ReasonCode.TOOL_CHANGED: lambda facts: (
        f"{facts['tool']} {facts['old'] or 'none'} -> {facts['new'] or 'none'}, kept all the same"
    ),
    ReasonCode.ARTIFACT_MODIFIED: _modified,
    ReasonCode.FILE_DIFFERS: lambda facts: f"{facts['guest']} differs in the guest",
    ReasonCode.FILE_UNDECLARED: lambda facts: (
        f"{facts['guest']} left the manifest"
        + (", but was changed in the guest: it stays" if facts.get("kept") else "")
    ),
    ReasonCode.SIZE_GROW: _sized,
    ReasonCode.SIZE_SHRINK: lambda facts: f"{_sized(facts)}: a disk can't shrink and keep its data",
    ReasonCode.GUEST_WROTE: lambda facts: (
        f"the guest has written {readable_size(cast('int', facts['bytes']))} since it was built"
        if "bytes" in facts
        else "the guest has written to it since it was built"
    ),
    ReasonCode.BASE_BEHIND: lambda facts: f"stays on the old {facts['id']}",
    ReasonCode.BASE_UNKNOWN: _base_unknown,
    ReasonCode.IN_USE: lambda facts: f"in use by {facts['holder']}",
    ReasonCode.INTERRUPTED: lambda _: "interrupted before",
    ReasonCode.FORCED: lambda _: "--replace",
    ReasonCode.WOULD_FAIL: _would_fail,
    ReasonCode.PATH_IN_THE_WAY: lambda facts: (
        f"'{facts['guest']}' can't be written: a {facts['there']} is there in the guest"
    ),
    ReasonCode.DISK_GONE: lambda facts: f"'{facts['path']}' is gone, and a guest may have written to it",
    ReasonCode.RENAMED: lambda facts: (
        f"vm.{facts['there']} is there, and so is vm.{facts['old']}"
        if "there" in facts
        else f"was vm.{facts['old']}"
    ),
}


def unchanged(text: str) -> str:
    """The same text: what completes messages where nothing was given."""
    return text


def plan_lines(
    plan: Plan,
    *,
    in_full: bool = False,
    diffs: bool = True,
    coloured: bool = False,
    complete: Complete = unchanged,
) -> Iterator[str]:
    """A plan as text: a line for each step that is not simply kept, its reasons, its diffs, and a summary.

    Args:
        plan: the plan.
        in_full: show kept steps and all artifacts too.
        diffs: show what patches would change in guests.
        coloured: use colours, for a terminal.
        complete: completes the commands in a message with what the run was given, see `given`.
    """
    rows = list(grouped_actions(plan, in_full=in_full, diffs=diffs))
    single = (row for row in rows if not isinstance(row, Group))
    alike = Alike(() if in_full else single, partial(_said, diffs=diffs))
    width = max((len(name) for row in rows for name in _names(row)), default=0)
    for row in rows:
        if isinstance(row, Group):
            yield from _group_lines(row, width, diffs=diffs, coloured=coloured, complete=complete)
            continue
        if alike.is_told(row):
            continue
        yield from map(complete, _action_lines(row, row.id, width, in_full=in_full, coloured=coloured))
        if diffs:
            yield from _diff_lines(row, coloured=coloured)
        yield from alike.more(row)
    yield plan_sum(plan)
    yield from map(complete, undeclared_lines(plan))


def grouped_actions(plan: Plan, *, in_full: bool = False, diffs: bool = True) -> Iterator[Action | Group]:
    """The actions that a plan is shown with, those of members of fleets together; see `plan_lines`."""
    shown = [action for action in plan.actions if in_full or action.verb is not Verb.KEEP or action.reasons]
    return grouped(shown, {} if in_full else plan.fleets, partial(_said, diffs=diffs))


def _said(action: Action, *, diffs: bool) -> list[str]:
    """What is said of an action, but for whose it is."""
    lines = list(_action_lines(action, "", 0, coloured=False))
    changed = (line for line in _diff_lines(action, coloured=False) if line.lstrip()[:1] in {"+", "-"})
    return [*lines, *(changed if diffs else ())]


def undeclared_lines(plan: Plan) -> Iterator[str]:
    """What left the manifests and is still in the store, and what to type."""
    if names := plan.undeclared:
        verb = "is" if len(names) == 1 else "are"
        yield (
            f"{few(names)} {verb} no longer declared, and still in the store: "
            "`bangerbuild destroy --undeclared` removes what is there"
        )
    yield from orphan_lines(plan.orphans)
    yield from map(_relocation, plan.relocations)


def _relocation(one: Relocation) -> str:
    """Which disks of a VM are not on its node, and what to type."""
    disks = f" ({few(one.disks, 'disks')})" if one.disks else ""
    if not one.is_here:
        return f"vm.{one.vm} moves from node '{one.old}' to '{one.new}': its disks stay on '{one.old}'{disks}"
    return (
        f"vm.{one.vm} is on node '{one.new}' now, and its disks are still here{disks}: "
        f"`bangerbuild destroy --target vm.{one.vm}` removes them, and the VM stays on '{one.new}'"
    )


def orphan_lines(orphans: Mapping[str, str]) -> Iterator[str]:
    """What is in the store of manifests that are renamed or gone, and what to type."""
    for manifest in dict.fromkeys(orphans.values()):
        names = [owner for owner, origin in orphans.items() if origin == manifest]
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        shown = "".join(f" --target {name}" for name in names[:MOST_NAMED])
        gone = them if len(names) <= MOST_NAMED else f"the first {MOST_NAMED} of them"
        yield (
            f"{few(names)} {are} still in the store, and '{manifest}', which declared {them}, is not there: "
            f"`bangerbuild destroy{shown}` removes {gone}"
        )


def _names(row: Action | Group) -> Iterator[str]:
    """What the lines of a row begin with."""
    if not isinstance(row, Group):
        yield row.id
    elif is_one_line(row):
        yield f"fleet.{row.fleet}"
    else:
        yield from (group_name(row, action) for action in row.actions)


def group_name(group: Group, action: Action) -> str:
    """What one part of each VM of a group is called: `fleet.runner.root.patch`."""
    return f"fleet.{group.fleet}.{StepId(action.id).part}"


def is_one_line(group: Group) -> bool:
    """Whether all of the VMs are made, for the usual reason."""
    return group.verb is Verb.CREATE and all(
        not action.in_use and [*map(reason, action.reasons)] == ["missing"] for action in group.actions
    )


def group_lines(group: Group, width: int) -> Iterator[str]:
    """The lines of what was done to members of a fleet; warnings were told when they arose."""
    if is_one_line(group):
        yield _made_line(group, width, coloured=False)
        return
    for action, name in zip(group.actions, _names(group), strict=True):
        why = nameless(", ".join(map(reason, action.reasons)), group.names[0])
        yield f"  {_verb(action.verb, coloured=False)} {name:<{width}}  {group.members}  {why}".rstrip()


def _group_lines(
    group: Group, width: int, *, diffs: bool, coloured: bool, complete: Complete
) -> Iterator[str]:
    """The lines of members of a fleet: one if all is made, else one for each part of a VM."""
    if is_one_line(group):
        yield _made_line(group, width, coloured=coloured)
        for warning in dict.fromkeys(text for action in group.actions for text in action.warnings):
            yield _warning(warning, coloured=coloured)
        return
    for action, name in zip(group.actions, _names(group), strict=True):
        said = _action_lines(action, name, width, lead=group.members, coloured=coloured)
        lines = [*map(complete, said)]
        lines += _diff_lines(action, coloured=coloured) if diffs else ()
        yield lines[0]
        yield from (nameless(line, group.names[0]) for line in lines[1:])


def _made_line(group: Group, width: int, *, coloured: bool) -> str:
    return f"  {_verb(Verb.CREATE, coloured=coloured)} {f'fleet.{group.fleet}':<{width}}  {group.members}"


def _warning(text: str, *, coloured: bool) -> str:
    return f"  {'':<7} {_painted(f'warning: {printable(text)}', YELLOW if coloured else None)}"


def _verb(verb: Verb, *, coloured: bool) -> str:
    return _painted(f"{verb.value:<7}", COLOURS.get(verb) if coloured else None)


def _action_lines(  # noqa: PLR0913  # what is said of it, and how
    action: Action, name: str, width: int, *, coloured: bool, in_full: bool = False, lead: str = ""
) -> Iterator[str]:
    own = action.artifacts if in_full and action.step.changes is None else ()
    first, *more = [*([lead] if lead else ()), *map(reason, action.reasons), *own] or [""]
    yield f"  {_verb(action.verb, coloured=coloured)} {name:<{width}}  {first}".rstrip()
    for line in more:
        yield f"  {'':<7} {'':<{width}}  {line}"
    for note in action.notes:
        yield f"  {'':<7} {printable(note)}"
    for warning in action.warnings:
        yield _warning(warning, coloured=coloured)
    if discards := way_out(action):
        yield f"  {'':<7} {discards}"


def way_out(action: Action) -> str | None:
    """The way out of a blocked step, of which `--replace` loses what is in the disk; None for other steps."""
    if action.verb is not Verb.BLOCKED:
        return None
    hints = dict.fromkeys(str(hint) for reason in action.reasons if (hint := _own_hint(reason)))
    if hints:
        return "; ".join((*hints, *_replacing(action, hints)))
    if any(reason.code is ReasonCode.BASE_UNKNOWN and not reason.facts for reason in action.reasons):
        return "`bangerbuild recover` looks into its header for that"
    if action.step.exclusive and action.step.changes is None:
        return f"`bangerbuild apply --replace {action.id}` discards what is in it"
    disk = action.step.changes or next(iter(action.step.inputs), None)
    return f"see {disk}" if disk else None


def _replacing(action: Action, hints: Iterable[str]) -> Iterator[str]:
    """The whole command, where a hint of who does not know the step only says `--replace`."""
    disk = action.step.changes or action.id
    if any("--replace" in hint for hint in hints) and not any(f"--replace {disk}" in hint for hint in hints):
        yield f"`bangerbuild apply --replace {disk}` discards what is in it"


def _own_hint(reason: Reason) -> Json:
    """What a reason says to do by itself; what lies in the place of an artifact is nobody's to replace."""
    if reason.facts.get("stays"):
        return "move it away, or mount what it leads to"
    return None if reason.code is ReasonCode.ARTIFACT_MODIFIED else reason.facts.get("hint")


def _diff_lines(action: Action, *, coloured: bool) -> Iterator[str]:
    for diff in action.diffs:
        if diff.text is None:
            yield f"          {printable(f'{diff.guest}: {diff.note}')}"
            continue
        lines = diff.text.removesuffix("\n").split("\n")[3:]  # without names and the first position
        yield f"          --- {printable(diff.guest)}"
        for line in lines[:DIFF_LINES]:
            colour = {"-": RED, "+": GREEN}.get(line[:1]) if coloured else None
            yield f"          {_painted(printable(line), colour)}"
        if len(lines) > DIFF_LINES:
            yield f"          ... {len(lines) - DIFF_LINES} more lines"


def _painted(text: str, colour: str | None) -> str:
    return f"{colour}{text}{PLAIN}" if colour else text


def plan_sum(plan: Plan) -> str:
    """The last line of a plan: `Plan: 1 to create, 1 blocked, 9 kept.`."""
    found = Counter((action.verb, action.in_use) for action in plan.actions)
    numbers = {f"to {verb.value}": found[verb, False] for verb in PENDING}
    in_use = sum(found[verb, True] for verb in PENDING)
    numbers |= {"in use": in_use, "blocked": found[Verb.BLOCKED, False] + found[Verb.BLOCKED, True]}
    kept = found[Verb.KEEP, False] + found[Verb.KEEP, True]
    if not any(numbers.values()):
        return f"Nothing to do: {kept} kept."
    return f"Plan: {_counted(numbers | {'kept': kept})}."


def _in_use(plan: Plan) -> int:
    """The number of pending steps whose disk is in use; blocked steps are not counted."""
    return sum(action.in_use and action.verb in PENDING for action in plan.actions)


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in numbers.items() if number)


def result_sum(plan: Plan, results: Sequence[Result], seconds: float) -> str:
    """The last line of an apply: `3 done, 1 blocked, 9 kept in 0.4 s`."""
    counts = plan.counts()
    outcomes = [result.outcome for result in results]
    in_use = _in_use(plan)
    skipped = outcomes.count(Outcome.SKIPPED) - counts[Verb.KEEP] - counts[Verb.BLOCKED] - in_use
    numbers = {
        "done": outcomes.count(Outcome.DONE),
        "failed": outcomes.count(Outcome.FAILED),
        "skipped": skipped,
        "in use": in_use,
        "blocked": counts[Verb.BLOCKED],
        "kept": counts[Verb.KEEP],
    }
    return f"{_counted(numbers) or 'nothing to do'} in {seconds:.1f} s"


def interrupted(finished: Sequence[str], by_half: Sequence[str] = ()) -> str:
    """The message of an interrupted run: the ids of finished steps, and half-changed disks."""
    half = f" (start no VM before: {few(by_half)} changed by half)" if by_half else ""
    if not finished:
        return f"interrupted: nothing was finished; the next `bangerbuild apply` does it{half}"
    return f"interrupted: {few(finished)} stay, the rest is made by the next `bangerbuild apply`{half}"


def plan_json(plan: Plan, results: Sequence[Result] | None = None) -> dict[str, Json]:
    """The document that `plan --json` and `apply --json` print."""
    by_id = {result.id: result for result in results or ()}
    failed = sum(result.outcome is Outcome.FAILED for result in by_id.values())
    counts = plan.counts()
    counts[Verb.KEEP] = counts.pop(Verb.KEEP)  # pending actions come first
    return {
        "format": 1,
        "store": str(plan.store),
        "actions": [
            _action_json(action, by_id.get(action.id)) | _node_of(action, plan) for action in plan.actions
        ],
        "undeclared": list(plan.undeclared),
        "orphaned": [{"id": owner, "manifest": manifest} for owner, manifest in plan.orphans.items()],
        "notes": list(undeclared_lines(plan)),
        **_nodes_json(plan),
        "summary": _summary(counts, failed),
    }


def _nodes_json(plan: Plan) -> dict[str, Json]:
    """The VMs that another node has now; nothing where there are no nodes."""
    if not plan.nodes:
        return {}
    relocated: list[Json] = [
        {"vm": one.vm, "from": one.old, "to": one.new, "disks": list(one.disks), "here": one.is_here}
        for one in plan.relocations
    ]
    return {"relocated": relocated}


def _node_of(action: Action, plan: Plan) -> dict[str, Json]:
    """The node of the VM that a step is of."""
    owner = StepId(action.id).owner
    node = plan.nodes.get(owner.name) if owner.table == "vm" else None
    return {"node": node} if node else {}


def _summary(counts: Mapping[Verb, int], failed: int) -> dict[str, Json]:
    """How many steps there are of each action; a key for each that there may ever be."""
    return {**{verb.value: count for verb, count in counts.items()}, "failed": failed}


def error_json(error: BangerError) -> dict[str, Json]:
    """An error as JSON."""
    return {"brief": error.brief, "details": error.details, "hint": error.hint}


def error_document(error: BangerError) -> dict[str, Json]:
    """The document of a command that came to no result: the error, and the problems of a manifest."""
    problems = error.problems if isinstance(error, ManifestError) else ()
    return {
        "format": 1,
        "error": error_json(error),
        "problems": [problem_json(one) for one in problems],
    }


def problem_json(problem: Problem) -> dict[str, Json]:
    """A problem of a manifest as JSON."""
    return {
        "file": problem.file,
        "line": problem.line,
        "key": problem.key,
        "message": problem.message,
        "hint": problem.hint,
    }


def _action_json(action: Action, result: Result | None) -> dict[str, Json]:
    document: dict[str, Json] = {
        "id": action.id,
        "kind": action.step.kind,
        "action": action.verb.value,
        "artifacts": list(action.artifacts),
        "fingerprint": action.fingerprint,
        "reasons": [value.to_json() for value in action.reasons],
        "needs": list(action.step.inputs),
    }
    if action.notes:
        document["notes"] = list(action.notes)
    if hint := way_out(action):
        document["hint"] = hint
    if action.warnings:
        document["warnings"] = list(action.warnings)
    if action.diffs:
        document["diffs"] = [diff.to_json() for diff in action.diffs]
    if result is not None:
        document |= {"result": result.outcome.value, "seconds": round(result.seconds, 6)}
        if result.error is not None:
            document["error"] = error_json(result.error)
    return document


def problem_lines(problems: Sequence[Problem]) -> Iterator[str]:
    """Problems of a manifest, each with its hint."""
    for problem in problems:
        yield from problem.lines()


def error_lines(error: BangerError) -> Iterator[str]:
    """An error as text: brief, details, hint; of a manifest its problems instead."""
    if isinstance(error, ManifestError):
        yield from problem_lines(error.problems)
    else:
        yield f"error: {error.brief}"
    yield from more_of(error)


def more_of(error: BangerError) -> Iterator[str]:
    """The details and the hint of an error."""
    if error.details:
        yield from (f"  {line}" for line in error.details.splitlines())
    if error.hint:
        yield f"  hint: {error.hint}"
