"""The names of VMs, images and all else, from manifests as they are being written, and from the store.

A manifest is not parsed: it may be in the middle of an edit, and a parser of TOML takes longer than a shell
can wait. Only keys are looked for. A name that is missed can be typed, and the command refuses a wrong one.
"""

from __future__ import annotations

import os
import re

from bangerbuild import ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TABLES = ("vm", "image", "fleet", "network", "node")
DEFAULT_MANIFEST = "vm.toml"
MOST_BYTES = 16 << 20
MOST_FILES = 200
MOST_NAMES = 20_000
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_TEXTS = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""'
    r"|'''(?:[^']|'(?!''))*+'''"
    r'|"(?:[^"\\\n]|\\.)*+"'
    r"|'[^'\n]*+'"
    r"|#[^\n]*+",
    re.DOTALL,
)
_LINES = re.compile(
    rf"^[ \t]*(?:\[\[?[ \t]*(?P<table>{_DOTTED})[ \t]*\]"
    rf"|(?P<key>{_DOTTED})[ \t]*=[ \t]*(?P<value>\[[^\]]*+\]?|[^\n]*+))",
    re.MULTILINE,
)
_STRINGS = re.compile(r""""([^"\n]*)"|'([^'\n]*)'""")
_DISK = ".ext4"
_NO_DATA_DISKS = frozenset({"root", "root.upper", "work"})
_PARTS = {
    "vm": ("root", "root.patch", "work", "work.patch", "launch"),
    "image": ("rootfs", "kernel", "initrd", "work_seed"),
}


class Given:
    """What a command line says of where names are."""

    def __init__(self) -> None:
        self.manifests: list[str] = []
        self.store: str | None = None

    def note(self, option: str, value: str) -> None:
        """Take the value of an option, if it says that."""
        if option == "--manifest":
            self.manifests.append(value)
        elif option == "--store":
            self.store = value


class Declared:
    """What manifests hold, as far as can be seen."""

    def __init__(self) -> None:
        self.names: dict[str, set[str]] = {table: set() for table in TABLES}
        self.store: str | None = None
        self._read: set[str] = set()

    def read(self, path: str) -> None:
        """Look through a file, and through those that it includes."""
        real = os.path.realpath(path)
        if real in self._read or len(self._read) >= MOST_FILES:
            return
        self._read.add(real)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(fd, "rb") as file:
                text = file.read(MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return
        directory = os.path.dirname(path)
        for key, value in _keys(text):
            self._take(key, value, directory)

    def _take(self, key: list[str], value: str, directory: str) -> None:
        if key == ["include"]:
            for name in _strings(value):
                self.read(os.path.join(directory, os.path.expanduser(name)))
        elif key == ["store", "path"] and self.store is None:
            paths = (os.path.join(directory, os.path.expanduser(one)) for one in _strings(value))
            self.store = next(paths, None)
        elif len(key) > 1 and key[0] in self.names and _NAME.fullmatch(key[1]):
            self.names[key[0]].add(key[1])
            if key[0] == "fleet" and key[2:] == ["names"]:
                for text in _strings(value):
                    self._take_members(text)

    def _take_members(self, text: str) -> None:
        try:
            self.names["vm"].update(name for name in ranges.expanded(text) if _NAME.fullmatch(name))
        except ranges.RangeError:
            return


def _keys(text: str) -> Iterator[tuple[list[str], str]]:
    """Each key with its path from the top, and the text of its value; of a table's header no value."""
    table: list[str] = []
    for found in _LINES.finditer(_TEXTS.sub(_without, text)):
        if found["table"] is not None:
            table = _parts(found["table"])
            yield table, ""
        else:
            yield [*table, *_parts(found["key"])], found["value"]


def _without(found: re.Match[str]) -> str:
    """A text of one line as it is; nothing in place of one of several lines, and of a comment."""
    text = found[0]
    if text.startswith("#"):
        return ""
    return '""' if text.startswith(('"""', "'''")) else text


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, dotted)]


def _strings(value: str) -> list[str]:
    return [double or single for double, single in _STRINGS.findall(value)]


def beginning(kind: str, begun: str, given: Given) -> list[str]:
    """The names of a kind that begin so, sorted; of ids only as far as the next dot.

    Args:
        kind: `vms`, `images`, `nodes`, `ids`, `disks` (ids of disks) or `vm-ids`.
        begun: what there is of the word.
        given: where names are.
    """
    declared = Declared()
    manifests = given.manifests or [DEFAULT_MANIFEST]
    for path in manifests:
        declared.read(path)
    store = given.store or declared.store or os.path.join(os.path.dirname(manifests[0]), "build")
    declared.names["vm"].update(_listed(f"{store}/vms"))
    declared.names["image"].update(_listed(f"{store}/images"))
    found = sorted(one for one in _candidates(kind, begun, declared.names, store) if one.startswith(begun))
    return found[:MOST_NAMES]


def _of_table(table: str, begun: str, names: dict[str, set[str]]) -> Iterator[str]:
    """Names, with their table before them if the word begins so."""
    prefix = f"{table}." if begun.startswith(f"{table}.") else ""
    return (f"{prefix}{name}" for name in names[table])


def _ids(tables: tuple[str, ...], begun: str, names: dict[str, set[str]], store: str | None) -> Iterator[str]:
    """Ids as far as the next dot; without a store none of the parts of a name."""
    table, *rest = begun.split(".", 2)
    if not rest:
        return (f"{one}." for one in tables if names[one])
    if table in tables and len(rest) == 1:
        return (f"{table}.{name}" for name in names[table])
    if table not in tables or store is None:
        return iter(())
    return (f"{table}.{rest[0]}.{part}" for part in _parts_of(table, rest[0], store))


def _parts_of(table: str, name: str, store: str) -> Iterator[str]:
    """The parts that an id may have; the disks of a VM are those that are there."""
    yield from _PARTS.get(table, ())
    if table == "vm":
        disks = (file.removesuffix(_DISK) for file in _listed(f"{store}/vms/{name}") if file.endswith(_DISK))
        for disk in disks:
            if disk not in _NO_DATA_DISKS:
                yield from (f"disk.{disk}", f"disk.{disk}.patch")


def _listed(directory: str) -> list[str]:
    try:
        return [one for one in os.listdir(directory) if not one.startswith(".")]
    except OSError:
        return []


def _candidates(kind: str, begun: str, names: dict[str, set[str]], store: str) -> Iterator[str]:
    table = _OF_NAMES.get(kind)
    if table is not None:
        return _of_table(table, begun, names)
    return _ids(_OF_IDS[kind], begun, names, store if kind != "vm-ids" else None)


_OF_NAMES = {"vms": "vm", "images": "image", "nodes": "node"}
_OF_IDS = {"ids": ("vm", "image", "fleet", "network"), "disks": ("vm", "image"), "vm-ids": ("vm", "fleet")}
