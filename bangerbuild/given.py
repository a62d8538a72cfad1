"""What somebody gave a command: with it, the commands that messages name can be typed as they are printed.

Messages name commands in their shortest form (`bangerbuild apply --replace vm.web.root`). Where one is
printed, the manifests, the store and the variables that this run was given are put into it, right after the
command's name. A message that went through once is left as it is the second time.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

MANIFESTS, MANIFEST_OPTIONS, STORE, VARIABLES = "MANIFEST", "--manifest", "--store", "--var"
NODE, CLUSTER = "--node", "--cluster"
_ALL = (MANIFESTS, STORE, VARIABLES)
_SHARE = (*_ALL, NODE)
_SHARES = (*_SHARE, CLUSTER)
_MACHINES = (MANIFEST_OPTIONS, STORE)
TAKEN: Mapping[str, Sequence[str]] = {
    "apply": _SHARES,
    "plan": _SHARES,
    "status": _SHARES,
    "verify": _SHARES,
    "validate": _ALL,
    "graph": _ALL,
    "show": _ALL,
    "explain": _ALL,
    "gc": _SHARE,
    "destroy": _SHARE,
    "recover": _ALL,
    "lock": (MANIFESTS, VARIABLES),
    "boot": (*_MACHINES, VARIABLES, NODE),
    "ssh": _MACHINES,
    "logs": _MACHINES,
    "ps": (MANIFESTS, STORE),
    "stop": _MACHINES,
    "ls": _MACHINES,
    "cat": _MACHINES,
    "push": _ALL,
    "pull": _ALL,
}
"""What each command takes of it."""
_COMMAND = re.compile(rf"\bbangerbuild ({'|'.join(TAKEN)})(?![\w-])(?! --help)")
TEXTS = frozenset({"brief", "details", "hint", "message", "notes", "problems", "warnings"})
"""The keys of a JSON document, at any depth, below which messages are."""


@dataclass(frozen=True)
class Given:
    """The words of a command line that say what it is about."""

    manifests: tuple[str, ...] = ()
    store: str | None = None
    variables: tuple[str, ...] = ()
    """Options and their values, in turn."""
    node: str | None = None
    cluster: str | None = None

    @classmethod
    def of(  # noqa: PLR0913, PLR0917  # one for each option that counts
        cls,
        manifests: Iterable[Path],
        store: Path | None,
        variables: Iterable[tuple[str, str]] = (),
        variable_files: Iterable[Path] = (),
        node: str | None = None,
        cluster: str | None = None,
    ) -> Self:
        """What the options of the command line say."""
        words = [("--var", f"{name}={value}") for name, value in variables]
        words += [("--var-file", str(path)) for path in variable_files]
        flat = tuple(word for option in words for word in option)
        return cls(tuple(map(str, manifests)), None if store is None else str(store), flat, node, cluster)

    def completed(self, text: str) -> str:
        """A message whose commands are about the same manifests and the same store."""
        if self == Given() or "bangerbuild " not in text:
            return text
        return _COMMAND.sub(lambda found: found[0] + self._missing(found), text)

    def _missing(self, found: re.Match[str]) -> str:
        words = "".join(f" {shlex.quote(word)}" for word in self._words(TAKEN[found[1]]))
        return "" if found.string.startswith(words, found.end()) else words

    def _words(self, taken: Sequence[str]) -> Iterator[str]:
        if MANIFESTS in taken:
            yield from self.manifests
        if MANIFEST_OPTIONS in taken:
            for manifest in self.manifests:
                yield from ("--manifest", manifest)
        if STORE in taken and self.store is not None:
            yield from ("--store", self.store)
        if VARIABLES in taken:
            yield from self.variables
        if NODE in taken and self.node is not None:
            yield from (NODE, self.node)
        if CLUSTER in taken and self.cluster is not None:
            yield from (CLUSTER, self.cluster)

    def completed_document(self, value: object, *, is_text: bool = False) -> object:
        """A JSON document of which the messages are completed; what is in guests stays as it is."""
        if isinstance(value, str):
            return self.completed(value) if is_text else value
        if isinstance(value, list):
            return [self.completed_document(one, is_text=is_text) for one in value]
        if isinstance(value, dict):
            return {
                key: self.completed_document(one, is_text=is_text or key in TEXTS)
                for key, one in value.items()
            }
        return value
