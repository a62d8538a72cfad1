"""What the schema knows and this version does not build yet: one row each, to be deleted when it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bangerbuild.manifest.source import Document, Place
from bangerbuild.manifest.toml_lines import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.errors import Problem
    from bangerbuild.manifest.toml_lines import Key


@dataclass(frozen=True)
class NotYet:
    """A key that is not supported yet, and what works in its stead."""

    key: str
    """Dotted; `*` is any name."""
    hint: str


_OTHER_SOURCE = "use tar, ext4 or directory"
_IN_THE_VM = "put it into [defaults] or the VM"
_TABLE = (
    *(
        row
        for source in ("image.*.rootfs", "image.*.work_seed")
        for row in (
            NotYet(f"{source}.oci", _OTHER_SOURCE),
            NotYet(f"{source}.url", "download it and use tar or ext4"),
            NotYet(f"{source}.mmdebstrap", "run mmdebstrap and use tar"),
            NotYet(f"{source}.image", _OTHER_SOURCE),
        )
    ),
    NotYet("image.*.kernel.url", "download it and give its path"),
    NotYet("image.*.initrd.url", "download it and give its path"),
    NotYet("image.*.file", _IN_THE_VM),
    NotYet("image.*.file_sync", _IN_THE_VM),
)


def check(document: Document) -> Iterator[Problem]:
    """A problem for each key of a file that is not supported yet."""
    for row in _TABLE:
        for key in _matches(document.tree, row.key.split("."), ()):
            yield Place(document, key).problem(f"{dotted(key)} is not supported yet", row.hint)


def _matches(tree: Any, pattern: list[str], key: Key) -> Iterator[Key]:  # noqa: ANN401  any TOML value
    """The key paths that a pattern stands for."""
    if not pattern:
        yield key
    elif isinstance(tree, dict):
        for name in tree if pattern[0] == "*" else [pattern[0]]:
            if name in tree:
                yield from _matches(tree[name], pattern[1:], (*key, name))
