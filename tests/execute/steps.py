"""Steps whose artifacts are texts, and what lies in a store of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild import store
from tests.fakes import FakeDisk, FakeStep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.model import Result, Workspace


def step(name: str, *inputs: str, **more: object) -> FakeStep:
    """A step whose artifact holds its inputs' text and its own name."""
    return FakeStep(name, inputs, (f"{name}.txt",), f"{name};", **more)  # type: ignore[arg-type]  # any field of FakeStep


def disk(name: str, *inputs: str, **more: object) -> FakeDisk:
    return FakeDisk(name, inputs, (f"{name}.cow",), f"{name};", **more)  # type: ignore[arg-type]  # any field of FakeDisk


def patch(of: str, text: str = "patch;", **more: object) -> FakeStep:
    """A step that changes another's artifact."""
    return FakeDisk(f"{of}.patch", (of,), (), text, of, **more)  # type: ignore[arg-type]  # any field of FakeDisk


def outcomes(results: tuple[Result, ...]) -> dict[str, str]:
    return {result.id: result.outcome.value for result in results}


def artifacts(path: Path) -> dict[str, str]:
    """What lies in the store and what it holds; staging must be empty."""
    assert list((path / ".staging").iterdir()) == []
    known = store.read(path).records.values()
    found = {file.name: file.read_text() for file in path.iterdir() if file.suffix in {".txt", ".cow"}}
    assert {name for record in known for name in record.artifacts} >= set(found)
    return found


def noting(name: str, done: list[str]) -> Callable[[Workspace], None]:
    return lambda _: done.append(name)


def run_a_vm_on(disk_path: Path) -> Callable[[Workspace], None]:
    """A VM that is started, writes and ends while a step runs."""

    def run(_: Workspace) -> None:
        with disk_path.open("a") as file:
            file.write("guest;")

    return run
