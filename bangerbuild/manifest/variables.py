"""`[vars]`: the values that templates of one file know, and what the command line sets in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from bangerbuild.errors import Problem
from bangerbuild.host import observed, toml
from bangerbuild.manifest import templates
from bangerbuild.manifest.files import Location
from bangerbuild.manifest.problems import Findings, InvalidValueError, ToldError, quoted
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bangerbuild.manifest.files import ManifestFile, Table

COMMAND_LINE = "the command line"


@dataclass(frozen=True)
class Settings:
    """What the command line says of variables: files, then single values, of which the last wins."""

    values: Sequence[tuple[str, str]] = ()
    files: Sequence[Path] = ()
    is_rebalanced: bool = False
    """Whether VMs are placed on nodes as if none had been leased one."""


@dataclass(frozen=True)
class Setting:
    """One value that takes the place of a declared one, and who says so."""

    value: Any
    said_by: str
    is_text: bool = False
    """Whether it is a text that stands for a value of whichever kind is declared."""


class Values(dict[str, Any]):
    """The values of variables, by name; those that have a problem are not there."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[str, InvalidValueError] = {}

    def __missing__(self, name: str) -> Any:  # noqa: ANN401  any TOML value
        if name in self.failed:
            raise ToldError(f"'{name}' has a problem")
        raise KeyError(name)


@dataclass
class Variables:
    """The variables of one file; each is evaluated when it is asked for, as it may need others."""

    document: ManifestFile
    settings: Mapping[str, Setting]
    findings: Findings
    values: Values = field(default_factory=Values)
    _trail: list[str] = field(default_factory=list)

    def all(self) -> Values:
        """All values, by name; one with a problem, which is told, is left out."""
        for name in self._table:
            with contextlib.suppress(InvalidValueError):
                self._evaluated(name)
        return self.values

    @property
    def _table(self) -> Table:
        table: Table = self.document.tree.get("vars", {})
        return table

    def _evaluated(self, name: str) -> Any:  # noqa: ANN401  any TOML value
        if name in self.values:
            return self.values[name]
        if name in self.values.failed:
            raise self.values.failed[name]
        if name in self._trail:
            circle = " -> ".join([*self._trail[self._trail.index(name) :], name])
            raise InvalidValueError(f"variables need one another in a circle: {circle}")
        self._trail.append(name)
        try:
            written = self._table[name]
            setting = self.settings.get(name)
            self.values[name] = (
                self._rendered(written) if setting is None else _as_set(setting, name, written)
            )
        except InvalidValueError as err:
            if err not in self.values.failed.values():  # told of its own variable alone
                place = Location(self.document, ("vars", name))
                self.findings.problems.append(place.problem(str(err), err.hint, err.line))
            self.values.failed[name] = err
            raise
        finally:
            self._trail.pop()
        return self.values[name]

    def _rendered(self, value: Any) -> Any:  # noqa: ANN401  any TOML value
        if templates.is_template(value):
            return templates.compiled(value).render({"vars": _Lazy(self)})
        if isinstance(value, list):
            return [self._rendered(item) for item in value]
        if isinstance(value, dict):
            return {key: self._rendered(item) for key, item in value.items()}
        return value

    def needed(self, name: str) -> Any:  # noqa: ANN401  any TOML value
        """The value of a variable that another one needs; KeyError: there is none."""
        if name not in self._table:
            raise KeyError(name)
        return self._evaluated(name)

    def names(self) -> Iterator[str]:
        """All names."""
        return iter(self._table)


class _Lazy(Mapping[str, Any]):
    """`vars` as a variable's own template sees it: each is evaluated when it is asked for, in any way."""

    def __init__(self, variables: Variables) -> None:
        self._variables = variables

    @override
    def __getitem__(self, name: str) -> Any:
        return self._variables.needed(name)

    @override
    def __iter__(self) -> Iterator[str]:
        return self._variables.names()

    @override
    def __len__(self) -> int:
        return sum(1 for _ in self)

    @override
    def __contains__(self, name: object) -> bool:
        return any(name == one for one in self)


def variables(
    documents: Sequence[ManifestFile], settings: Settings, findings: Findings
) -> dict[ManifestFile, dict[str, Any]]:
    """The values of all files.

    A variable that the command line sets holds in every file that declares it; one that none declares is a
    problem.
    """
    given = _given(settings, findings)
    declared = {name: None for document in documents for name in document.tree.get("vars", {})}
    for name, setting in given.items():
        if name not in declared:
            hint = near(name, declared) or "declare it in [vars], with the value that it has otherwise"
            findings.problems.append(
                Problem(setting.said_by, 0, name, f"no file declares the variable '{name}'", hint)
            )
    return {document: Variables(document, given, findings).all() for document in documents}


def _given(settings: Settings, findings: Findings) -> dict[str, Setting]:
    given: dict[str, Setting] = {}
    for path in settings.files:
        observed.look(path)
        try:
            text, _ = toml.read(path, may_be_pipe=True)
            tree = toml.parse(text)
        except OSError as err:
            reason = (err.strerror or str(err)).lower()
            findings.problems.append(Problem(str(path), 0, "", f"can't read the variables: {reason}"))
        except toml.TomlError as err:
            findings.problems.append(Problem(str(path), err.line, "", str(err)))
        else:
            given |= {name: Setting(value, str(path)) for name, value in tree.items()}
    return given | {name: Setting(text, COMMAND_LINE, is_text=True) for name, text in settings.values}


def _as_set(setting: Setting, name: str, written: Any) -> Any:  # noqa: ANN401  any TOML value
    """The value that was set, of the kind that is declared."""
    value = setting.value
    if setting.is_text and not isinstance(written, str):
        value = _parsed(setting.value)
    if type(value) is type(written):
        return value
    raise InvalidValueError(
        f"{setting.said_by} sets '{name}' to {quoted(setting.value)}, and it is {quoted(written)} here",
        "give a value of the same kind",
    )


def _parsed(text: str) -> Any:  # noqa: ANN401  any TOML value
    """The value that a text is in TOML; None if it is none."""
    try:
        found = toml.parse(f"value = {text}")
    except toml.TomlError:
        return None
    return found["value"] if found.keys() == {"value"} else None
