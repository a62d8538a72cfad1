"""A guest to be read, made of a dict."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from bangerbuild.guest.devices import RootDevices
from bangerbuild.tree import GuestFile

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from bangerbuild.errors import FilesystemError
    from bangerbuild.guest.view import GuestView
    from bangerbuild.tree import GuestEdits

_T = TypeVar("_T")


@dataclass
class DictView:
    """Files by path, 0644 unless `modes` says otherwise; `broken` paths are there, and reading them fails.

    Directories are those that files and links are in.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    broken: Mapping[str, FilesystemError] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    """The text of each symlink; where it leads to is not looked at, so a link has no content."""
    tags: frozenset[str] = frozenset()

    def read(self, path: str) -> bytes | None:
        if path in self.broken:
            raise self.broken[path]
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return path in self.files or path in self.broken or bool(self.names(path))

    def mode(self, path: str) -> int | None:
        return self.modes.get(path, 0o644) if self.exists(path) else None

    def names(self, path: str) -> tuple[str, ...]:
        start = f"{path.rstrip('/')}/"
        known = {**self.files, **self.broken, **self.links}
        below = (name.removeprefix(start) for name in known if name.startswith(start))
        return tuple(sorted({name.partition("/")[0] for name in below}))

    def root_devices(self) -> RootDevices:
        return RootDevices(self.tags)

    def once(self, question: Hashable, answer: Callable[[GuestView], _T]) -> _T:  # noqa: ARG002
        return answer(self)

    def link(self, path: str) -> str | None:
        return self.links.get(path)


def guest(
    files: Mapping[str, bytes | str] | None = None, links: Mapping[str, str] | None = None
) -> GuestView:
    """A guest with these files and symlinks."""
    texts = files or {}
    contents = {path: text.encode() if isinstance(text, str) else text for path, text in texts.items()}
    return DictView(contents, links=links or {})


SYSTEMD = {"/usr/lib/systemd/systemd": b"\x7fELF"}
OPENRC = {"/sbin/openrc-run": b"\x7fELF"}


def written(outcome: GuestEdits) -> dict[str, bytes]:
    """The content of each regular file that an outcome writes."""
    return {change.path: change.content for change in outcome.changes if isinstance(change, GuestFile)}
