"""The graph as one page for a browser: each step with action, reasons, recipe and diffs. It needs no network.

Everything that comes from a manifest or a guest is data of the page: JSON in which no tag can end, that its
script shows as text. A policy in the page lets nothing run or load but its own script and style.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bangerbuild import report
from bangerbuild.commands import explain
from bangerbuild.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bangerbuild.model import Action, FileDiff, Json, Plan, Step

Document: TypeAlias = "dict[str, Json]"

DIFF_LINES = 400
"""The most lines of one file's diff."""
LINE_LENGTH = 500
_TEMPLATE = Path(__file__).with_name("page.html")
_DATA, _POLICY = "@DATA@", "@POLICY@"


class _Texts:
    """Texts that many steps have, each once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def all(self, texts: Iterable[str]) -> list[Json]:
        """The numbers of texts."""
        return [self.numbers.setdefault(printable(text), len(self.numbers)) for text in texts]


def of_plan(plan: Plan) -> str:
    """The page of a plan."""
    texts = _Texts()
    steps: list[Json] = [_step(action, texts) for action in plan.actions]
    return _page(report.plan_sum(plan), steps, texts, plan.fleets)


def of_steps(steps: Iterable[Step]) -> str:
    """The page of steps of which no plan can be made: what was made of what."""
    texts = _Texts()
    found: list[Json] = [
        {"id": step.id, "kind": step.kind, "needs": list(step.inputs), "makes": texts.all(step.outputs)}
        for step in steps
    ]
    return _page("No plan: only what was made is known.", found, texts, {})


def _step(action: Action, texts: _Texts) -> Document:
    step = action.step
    document: Document = {
        "id": action.id,
        "kind": step.kind,
        "action": action.verb.value,
        "needs": list(dict.fromkeys((*step.inputs, *step.waits_for))),
    }
    said: dict[str, Iterable[str]] = {
        "reasons": map(report.reason, action.reasons),
        "makes": [f"changes {step.changes} in place"] if step.changes else action.artifacts,
        "keys": explain.keys(action.recipe.fields),
        "reads": [f"{path} ({role})" for role, path in explain.paths(step).items()],
        "tools": [f"{name} {version}" for name, version in action.recipe.tools.items()],
        "notes": action.notes,
        "warnings": action.warnings,
        "ways": filter(None, [report.way_out(action)]),
    }
    document |= {key: numbers for key, lines in said.items() if (numbers := texts.all(lines))}
    if action.diffs:
        document["diffs"] = [_diff(diff) for diff in action.diffs]
    return document


def _diff(diff: FileDiff) -> Document:
    lines = [] if diff.text is None else diff.text.removesuffix("\n").split("\n")[2:]
    shown: list[Json] = [printable(line)[:LINE_LENGTH] for line in lines[:DIFF_LINES]]
    if len(lines) > DIFF_LINES:
        shown.append(f"... {len(lines) - DIFF_LINES} more lines")
    return {"guest": printable(diff.guest), "lines": shown, "note": diff.note and printable(diff.note)}


def _page(said: str, steps: list[Json], texts: _Texts, fleets: Mapping[str, Sequence[str]]) -> str:
    template = _TEMPLATE.read_text(encoding="utf-8")
    members: dict[str, Json] = {name: list(names) for name, names in fleets.items()}
    data: Document = {"sum": said, "texts": list(texts.numbers), "fleets": members, "steps": steps}
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(template, 'script')}'",
            f"style-src '{_hash(template, 'style')}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return template.replace(_POLICY, policy, 1).replace(_DATA, in_script(data), 1)


def in_script(document: Document) -> str:
    """JSON that can stand in a script: no tag and no comment begins or ends in it."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(template: str, tag: str) -> str:
    """What a policy names a script or a style by."""
    _, _, rest = template.partition(f"<{tag}>")
    body, _, _ = rest.partition(f"</{tag}>")
    return f"sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}"
