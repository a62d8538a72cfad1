"""A guest to be read, made of a dict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.tree import GuestFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.errors import FilesystemError
    from bangerbuild.guest.view import GuestView
    from bangerbuild.tree import GuestEdits


@dataclass
class DictView:
    """Files by path, 0644 unless `modes` says otherwise; `broken` paths are there, and reading them fails."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, FilesystemError] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()

    def read(self, path: str) -> bytes | None:
        if path in self.broken:
            raise self.broken[path]
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return path in self.files or path in self.broken

    def mode(self, path: str) -> int | None:
        return self.modes.get(path, 0o644) if self.exists(path) else None

    def names(self, path: str) -> tuple[str, ...]:
        start = f"{path.rstrip('/')}/"
        below = (name.removeprefix(start) for name in {**self.files, **self.broken} if name.startswith(start))
        return tuple(sorted({name.partition("/")[0] for name in below}))

    def filesystem_tags(self) -> frozenset[str]:
        return self.tags


def guest(files: Mapping[str, bytes | str] | None = None) -> GuestView:
    """A guest with these files."""
    texts = files or {}
    return DictView({path: text.encode() if isinstance(text, str) else text for path, text in texts.items()})


SYSTEMD = {"/usr/lib/systemd/systemd": b"\x7fELF"}
OPENRC = {"/sbin/openrc-run": b"\x7fELF"}


def written(outcome: GuestEdits) -> dict[str, bytes]:
    """The content of each regular file that an outcome writes."""
    return {change.path: change.content for change in outcome.changes if isinstance(change, GuestFile)}
