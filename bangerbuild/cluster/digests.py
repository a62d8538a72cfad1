"""Digests of the controller's files, remembered in the user's cache: the controller itself has no store."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.fetch.cache import default_path
from bangerbuild.formats.digest import DigestCache, stat_key

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "digests.json"


class KeptDigests(DigestCache):
    """Digests by what stat says of a file. One that can't be kept costs the time to read the file again.

    Args:
        directory: where they are; None: the user's.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or default_path(os.environ).with_name("bangerbuild-cluster")
        self._used: dict[str, str] = {}
        self._known: dict[str, str] = {}
        try:
            found = json.loads((self._directory / _NAME).read_text())
        except (OSError, ValueError):
            return
        if isinstance(found, dict):
            self._known = {key: value for key, value in found.items() if isinstance(value, str)}

    @override
    def get(self, path: str, found: os.stat_result) -> str | None:
        key = _key(found)
        known = self._used.get(key) or self._known.get(key)
        if known is not None:
            self._used[key] = known
        return known

    @override
    def put(self, path: str, found: os.stat_result, digest: str) -> None:
        self._used[_key(found)] = digest

    def keep(self) -> None:
        """Write what was used; what was not is forgotten."""
        if not self._used or self._used == self._known:
            return
        draft = self._directory / f"{_NAME}.{os.getpid()}"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(json.dumps(self._used))
            draft.replace(self._directory / _NAME)
        except OSError:
            draft.unlink(missing_ok=True)


def _key(found: os.stat_result) -> str:
    return ":".join(map(str, stat_key(found)))
