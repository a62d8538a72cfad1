"""Reads a trace as the viewers of the format do, and refuses what one of them would not show."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import jsonschema

_NAMED = {"name": {"enum": ["process_name", "thread_name"]}, "ph": {"const": "M"}}
_COMPLETE = {
    "name": {"type": "string", "minLength": 1},
    "cat": {"type": "string", "minLength": 1},
    "ph": {"const": "X"},
    "ts": {"type": "integer", "minimum": 0},
    "dur": {"type": "integer", "minimum": 0},
}
_PLACE = {"pid": {"type": "integer"}, "tid": {"type": "integer"}, "args": {"type": "object"}}
SCHEMA = {
    "type": "object",
    "required": ["traceEvents"],
    "properties": {
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    {
                        "properties": {**fields, **_PLACE},
                        "required": [*fields, *_PLACE],
                        "additionalProperties": False,
                    }
                    for fields in (_NAMED, _COMPLETE)
                ]
            },
        },
    },
}
"""The fields that the Trace Event Format asks of the events that we write."""


class TraceReader:
    """The events of a trace, each with the one that it lies in."""

    def __init__(self, document: Any) -> None:  # noqa: ANN401  # JSON
        jsonschema.validate(document, SCHEMA)
        events = document["traceEvents"]
        self.processes = {one["pid"]: one["args"]["name"] for one in events if one["name"] == "process_name"}
        self.threads: dict[tuple[int, int], str] = {
            (one["pid"], one["tid"]): one["args"]["name"] for one in events if one["name"] == "thread_name"
        }
        self.bars: list[dict[str, Any]] = [one for one in events if one["ph"] == "X"]
        self.parents: dict[int, str | None] = {}
        """What each bar lies in, by its index."""
        self._nest()

    def _nest(self) -> None:
        open_bars: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
        for index, bar in sorted(enumerate(self.bars), key=lambda one: (one[1]["ts"], -one[1]["dur"])):
            place = bar["pid"], bar["tid"]
            assert place in self.threads, f"{bar['name']} is of a thread without a name"
            assert bar["pid"] in self.processes
            around = open_bars[place]
            while around and around[-1]["ts"] + around[-1]["dur"] <= bar["ts"]:
                around.pop()
            if around:
                ends = around[-1]["ts"] + around[-1]["dur"]
                assert bar["ts"] + bar["dur"] <= ends, f"{bar['name']} crosses {around[-1]['name']}"
            self.parents[index] = around[-1]["name"] if around else None
            around.append(bar)

    def names(self, category: str) -> list[str]:
        """The names of the bars of a category, in the order of their beginning."""
        found = [bar for bar in self.bars if bar["cat"] == category]
        return [bar["name"] for bar in sorted(found, key=lambda bar: (bar["ts"], -bar["dur"]))]

    def bar(self, category: str, name: str) -> dict[str, Any]:
        """The one bar of a category and a name."""
        return self.bars[self._place(category, name)]

    def _place(self, category: str, name: str) -> int:
        (found,) = [at for at, bar in enumerate(self.bars) if (bar["cat"], bar["name"]) == (category, name)]
        return found

    def parent(self, category: str, name: str) -> str | None:
        """The name of what the one bar of a category and a name lies in."""
        return self.parents[self._place(category, name)]

    def parents_of(self, category: str) -> set[str | None]:
        """The names of what the bars of a category lie in."""
        return {self.parents[at] for at, bar in enumerate(self.bars) if bar["cat"] == category}

    def thread(self, category: str, name: str) -> str:
        """The name of the thread of the one bar of a category and a name."""
        found = self.bar(category, name)
        return self.threads[found["pid"], found["tid"]]
