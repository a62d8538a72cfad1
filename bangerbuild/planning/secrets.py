"""The secrets of one run: each is read once, kept in memory, and known elsewhere by keyed digests only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild import keyed
from bangerbuild.errors import ManifestError, Problem
from bangerbuild.host.secrets import SecretError
from bangerbuild.model import Revealed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bangerbuild.host.secrets import SecretOrigin
    from bangerbuild.model import Secret

PREFIX = "keyed:"
"""How the digest of a secret begins in a recipe."""


class Secrets:
    """What the secrets of a run are.

    Args:
        key: of the store, for all digests.
        wanted: those that are read.

    Raises:
        ManifestError: some can't be read; it holds all of these.
    """

    def __init__(self, key: bytes, wanted: Iterable[Secret] = ()) -> None:
        self._key = key
        self._found: dict[SecretOrigin, Revealed | SecretError] = {}
        problems: dict[Problem, None] = {}
        for secret in wanted:
            if secret.origin not in self._found:
                self._found[secret.origin] = self._read(secret.origin)
            found = self._found[secret.origin]
            if isinstance(found, SecretError):
                problems[Problem(secret.file, secret.line, secret.key, found.brief, found.hint)] = None
        if problems:
            raise ManifestError(tuple(sorted(problems, key=lambda one: (one.file, one.line, one.key))))

    def _read(self, origin: SecretOrigin) -> Revealed | SecretError:
        try:
            content = origin.read()
        except SecretError as err:
            return err
        return Revealed(content, keyed.digest(self._key, "guest file", content))

    def revealed(self, secret: Secret) -> Revealed:
        """A secret that was wanted."""
        found = self._found[secret.origin]
        if isinstance(found, SecretError):
            raise found
        return found

    def digest(self, secret: Secret) -> str:
        """What counts of it in a recipe."""
        return PREFIX + keyed.digest(self._key, "recipe", self.revealed(secret).content)
