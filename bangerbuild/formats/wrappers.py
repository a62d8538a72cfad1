"""Archives that hold an image and are none: what a tree is by the names at its top, and how to get at it.

A machine can't start from such a tree, and nothing else in it says so: it is read, copied and patched without
an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.errors import SourceError
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LAYER = re.compile(r"(?:.+/layer\.tar|[0-9a-f]{64}(?:\.tar|\.json)?)")
"""What `docker save` and `podman save` call layers and configurations."""
_IN_ROOTFS = (
    "its tree lies below 'rootfs': unpack it as root and give that directory (`directory = …` in a manifest)"
)
_TREE = {"etc", "usr"}
_DISKS = (".vmdk", ".vdi", ".vhd", ".img", ".qcow2", ".raw")


@dataclass
class _Top:
    """The names of a tree down to two levels."""

    types: dict[str, EntryType] = field(default_factory=dict)
    below: set[str] = field(default_factory=set)
    """`NAME/NAME`."""

    def add(self, entry: Entry) -> None:
        first, _, rest = entry.path.partition("/")
        if not rest:
            self.types[first] = entry.type
            return
        self.types.setdefault(first, EntryType.DIRECTORY)
        self.below.add(f"{first}/{rest.partition('/')[0]}")

    def has(self, *names: str) -> bool:
        return all(name in self.types for name in names)

    def ending(self, *ends: str) -> list[str]:
        """The files at the top whose names end so."""
        return sorted(
            name for name, type_ in self.types.items() if name.endswith(ends) and type_ is EntryType.FILE
        )


class _Wrapper(NamedTuple):
    what: str
    way_out: str
    """`{written}` is how the user names the source."""


def refusing(entries: Iterator[Entry], written: str) -> Iterator[Entry]:
    """The entries of a root filesystem, as they come.

    Raises:
        SourceError: at their end, if the tree is none but an archive or a directory that holds an image.
    """
    top = _Top()
    for entry in entries:
        if entry.path:
            top.add(entry)
        yield entry
    if found := _wrapper(top):
        raise SourceError(
            f"'{written}' holds no root filesystem: it is {found.what}",
            hint=found.way_out.replace("{written}", written),
        )


def _wrapper(top: _Top) -> _Wrapper | None:
    if _TREE & top.types.keys():  # whatever else lies beside it
        return None
    return next((found for test in _TESTS if (found := test(top))), None)


def _oci(top: _Top) -> _Wrapper | None:
    if not top.has("oci-layout", "index.json"):
        return None
    return _Wrapper(
        "a container image in the OCI layout",
        "give it as `oci-archive:{written}`, a directory as `oci:{written}` (in a manifest: `oci = …`)",
    )


def _docker(top: _Top) -> _Wrapper | None:
    has_layers = any(_LAYER.fullmatch(name) for name in (*top.types, *top.below))
    if not has_layers or not (top.has("manifest.json") or top.has("repositories")):
        return None
    return _Wrapper(
        "a container image, as `docker save` writes them",
        "give it as `docker-archive:{written}` (in a manifest: `oci = …`)",
    )


def _vagrant(top: _Top) -> _Wrapper | None:
    if not top.has("metadata.json") or not (top.has("Vagrantfile") or top.ending(*_DISKS, ".ovf")):
        return None
    return _Wrapper("a Vagrant box", _unpack(top.ending(*_DISKS)))


def _ova(top: _Top) -> _Wrapper | None:
    return _Wrapper("a virtual appliance (OVA)", _unpack(top.ending(*_DISKS))) if top.ending(".ovf") else None


def _disk(top: _Top) -> _Wrapper | None:
    """A tarball of one disk image, such as `disk.raw.tar.gz` of Google's cloud."""
    disks = top.ending(*_DISKS)
    return (
        _Wrapper("an archive of a disk image", _unpack(disks)) if len(disks) == len(top.types) == 1 else None
    )


def _unpack(disks: list[str]) -> str:
    disk = disks[0] if disks else "the disk image"
    return f"unpack it with `tar xf`, and name '{disk}' in it with `disk_image = …`"


def _lxd(top: _Top) -> _Wrapper | None:
    if not top.has("metadata.yaml"):
        return None
    if top.has("rootfs"):
        return _Wrapper("an image of LXD or Incus", _IN_ROOTFS)
    if set(top.types) <= {"metadata.yaml", "templates"}:
        return _Wrapper(
            "the half of an LXD or Incus image that has no files", "give the other half, its rootfs"
        )
    return None


def _one_below(top: _Top) -> _Wrapper | None:
    """A tree that was packed with the name of its directory."""
    if len(top.types) != 1:
        return None
    (name,) = top.types
    if not all(f"{name}/{part}" in top.below for part in _TREE):
        return None
    return _Wrapper(f"a directory '{name}' that holds one", f"pack what is in it: `tar -C {name} -cf … .`")


_TESTS: tuple[Callable[[_Top], _Wrapper | None], ...] = (
    _oci,
    _docker,
    _vagrant,
    _ova,
    _lxd,
    _disk,
    _one_below,
)
