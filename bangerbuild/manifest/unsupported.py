"""What the schema knows and this version does not build yet: one line each, to be deleted when it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bangerbuild.manifest.source import Document, Place
from bangerbuild.manifest.toml_lines import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.errors import Problem
    from bangerbuild.manifest.toml_lines import Key

_ANY_VALUE = object()


@dataclass(frozen=True)
class NotYet:
    """A key that is not supported yet, or one value of it, and what works in its stead."""

    key: str
    """Dotted; `*` is any name."""
    hint: str
    value: object = _ANY_VALUE


_OTHER_SOURCE = "use tar, ext4 or directory"
_IN_THE_VM = "put it into [defaults] or the VM"
_NO_KERNEL = "leave it out, and name it where you start the VM"
_NO_WORK = "leave it out, or say work = false"
_TABLE = (
    NotYet("image.*.rootfs.oci", _OTHER_SOURCE),
    NotYet("image.*.rootfs.url", "download it and use tar or ext4"),
    NotYet("image.*.rootfs.mmdebstrap", "run mmdebstrap and use tar"),
    NotYet("image.*.rootfs.image", _OTHER_SOURCE),
    NotYet("image.*.work_seed", "leave it out: there are no work disks yet"),
    NotYet("image.*.kernel", _NO_KERNEL),
    NotYet("image.*.initrd", _NO_KERNEL),
    NotYet("image.*.file", _IN_THE_VM),
    NotYet("image.*.file_sync", _IN_THE_VM),
    NotYet("vm.*.root.format", 'use "snapshot"', value="raw"),
    NotYet("defaults.root.format", 'use "snapshot"', value="raw"),
    NotYet("vm.*.work", _NO_WORK),
    NotYet("defaults.work", _NO_WORK),
    NotYet("vm.*.disk", "leave it out"),
    NotYet("defaults.disk", "leave it out"),
)


def check(document: Document) -> Iterator[Problem]:
    """A problem for each key of a file that is not supported yet."""
    for row in _TABLE:
        for key, value in _matches(document.tree, row.key.split("."), ()):
            if value is not False and row.value in (_ANY_VALUE, value):
                what = dotted(key) if row.value is _ANY_VALUE else f"{dotted(key)} = '{value}'"
                yield Place(document, key).problem(f"{what} is not supported yet", row.hint)


def _matches(tree: Any, pattern: list[str], key: Key) -> Iterator[tuple[Key, Any]]:  # noqa: ANN401  any TOML value
    """The key paths, with their values, that a pattern stands for."""
    if not pattern:
        yield key, tree
    elif isinstance(tree, dict):
        for name in tree if pattern[0] == "*" else [pattern[0]]:
            if name in tree:
                yield from _matches(tree[name], pattern[1:], (*key, name))
