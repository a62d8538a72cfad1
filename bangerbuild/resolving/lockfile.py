"""The lock file, `bangerbuild.lock` beside the manifest: which bytes its sources stood for when asked.

    version = 1

    [image.bookworm.rootfs]     a place in the manifest, and what it asks for
    url = "https://example.org/bookworm.tar.xz"
    sha256 = "…"                what that stood for

    [cache.bookworm.FINGERPRINT]    what was built of an image by that recipe, since somebody pushed it
    part = "rootfs"
    sha256 = "…"

    [network.lan]               a network, and which address each VM has been given in it: see `leases`
    web = "172.16.0.10"

    [placement]                 on which node each VM is, where there are nodes
    web = "node-a"

It is TOML, sorted and written whole, made for `git diff`. An entry holds as long as the manifest asks for the
same; one for another place does too, so that an image may be renamed or use what another one uses. A lease
holds until it is released.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tomli_w

from bangerbuild import leases
from bangerbuild.disk import durable
from bangerbuild.errors import BusyError, LockFileError
from bangerbuild.host import observed, toml
from bangerbuild.leases import FILE_NAME
from bangerbuild.model import Pin, StepId
from bangerbuild.model.image_cache import LockedImage
from bangerbuild.sources.source import kept_words, lock_entry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bangerbuild.declared import Manifest
    from bangerbuild.sources.source import LockWords

K = TypeVar("K")
V = TypeVar("V")
VERSION = 1
HEAD = "# What the manifest's sources stand for. Made by bangerbuild; keep it in git.\n"
PIN_KEYS = ("sha256", "platform", "versions", "digests")
_SINGLE_KEYS = PIN_KEYS[:3]
_PLACE = re.compile(r"image\.[a-z0-9][a-z0-9_-]{0,62}\.(?:rootfs|work_seed|kernel|initrd)")
_DIGEST = re.compile("[0-9a-f]{64}")
_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,62}")
_FINGERPRINT = re.compile("[0-9a-f]{32}")
CACHE = "cache"
"""The table of what was pushed."""
_SETTLE_HINT = (
    "settle it if git left it in conflict, or take the last good one from git; "
    "without it VMs may get other addresses, and sources stand for something newer"
)


@dataclass(frozen=True)
class LockEntry:
    """What a place in the manifest asks for, with what that stood for."""

    words: LockWords

    @classmethod
    def of(cls, asked: LockWords, pin: Pin) -> LockEntry:
        """The entry for what is asked for and what it turned out to be."""
        return cls(lock_entry(asked, pin))

    @property
    def pin(self) -> Pin:
        """What it stood for."""
        digest, platform, versions = (str(self.words.get(key, "")) for key in PIN_KEYS[:3])
        return Pin(digest, platform or None, versions or None, tuple(self.words.get("digests", ())))

    def answers(self, asked: LockWords) -> bool:
        """Whether it is about what is asked for, and nothing else.

        User names and passwords in addresses do not count; an older version kept them.
        """
        own = kept_words({key: word for key, word in self.words.items() if key not in PIN_KEYS})
        wanted = kept_words(asked)
        given = kept_words(self.words)
        return own.keys() <= wanted.keys() and all(given.get(key) == value for key, value in wanted.items())


@dataclass(frozen=True)
class LockFile:
    """What a lock file says; empty where there is none."""

    entries: Mapping[str, LockEntry] = field(default_factory=dict)
    """By place: `image.bookworm.rootfs`."""
    leases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What VMs have been given, by table (`network.lan`, `placement`) and by the VM's name."""
    pushed: Mapping[tuple[str, str], LockedImage] = field(default_factory=dict)
    """What was built of images, by the image's name and the fingerprint."""

    def built(self) -> dict[str, dict[str, LockedImage]]:
        """The same, by the image's name and then by the fingerprint."""
        found: dict[str, dict[str, LockedImage]] = {}
        for (name, digits), one in self.pushed.items():
            found.setdefault(name, {})[digits] = one
        return found

    def find(self, place: str, asked: LockWords) -> LockEntry | None:
        """The entry for what a place asks for: its own, else another's that asks for the same."""
        own = self.entries.get(place)
        candidates = (*([own] if own else []), *self.entries.values())
        return next((entry for entry in candidates if entry.answers(asked)), None)

    def text(self) -> str:
        """The file."""
        tree: dict[str, Any] = {"version": VERSION}
        for place in sorted(self.entries):
            step_id = StepId(place)
            images = tree.setdefault(step_id.table, {})
            images.setdefault(step_id.name, {})[step_id.part] = dict(self.entries[place].words)
        for name, digits in sorted(self.pushed):
            entries = tree.setdefault(CACHE, {}).setdefault(name, {})
            entries[digits] = _written(self.pushed[name, digits])
        for table in sorted(self.leases):
            *above, last = table.split(".")
            holder = tree
            for part in above:
                holder = holder.setdefault(part, {})
            holder[last] = dict(sorted(self.leases[table].items()))
        return HEAD + tomli_w.dumps(tree)


def _written(one: LockedImage) -> dict[str, Any]:
    tools = dict(sorted(one.tools.items()))
    return {"part": one.part, "sha256": one.digest, "recipe": one.recipe, "tools": tools}


def remembered(words: object) -> LockEntry | None:
    """The entry that a store's record holds; None if it is none that this program writes."""
    if not isinstance(words, dict) or not all(isinstance(key, str) for key in words):
        return None
    try:
        _check_words("", words, Path())
    except LockFileError:
        return None
    return LockEntry(words)


def path_beside(manifest: Manifest) -> Path:
    """Where the manifest's lock file is: beside its first file."""
    return manifest.files[0].parent / FILE_NAME


def read(path: Path) -> LockFile:
    """What the lock file says; nothing where there is none.

    Raises:
        LockFileError: it can't be read, or is not what this program writes.
    """
    observed.look(path)
    try:
        text, _ = toml.read(path, may_be_pipe=False)
    except FileNotFoundError:
        return LockFile()
    except OSError as err:
        raise _unusable(path, _reason(err)) from err
    except toml.TomlError as err:
        raise _unusable(path, f"line {err.line}: {err}" if err.line else str(err)) from err
    return parsed(text, path)


def parsed(text: str, path: Path) -> LockFile:
    """What the text of a lock file says; `path` is what messages call it.

    Raises:
        LockFileError: it is not what this program writes.
    """
    try:
        held = leases.parsed(text, path)
        for problem in held.problems:
            raise LockFileError(next(problem.lines()), hint=problem.hint)
        return _parsed(toml.parse(text), held, path, text)
    except toml.TomlError as err:
        raise _unusable(path, f"line {err.line}: {err}" if err.line else str(err)) from err


def write(path: Path, before: LockFile, after: LockFile) -> None:
    """Change in a lock file what differs between the two, at once; what others have added since stays.

    Raises:
        LockFileError: it can't be written.
        BusyError: somebody else has changed the same entry since `before` was read.
    """
    path = path.resolve()
    try:
        with _locked(path.parent):
            now = read(path)
            merged = _merged(now, before, after)
            if merged is None:
                brief = f"'{path}' was changed by someone else since it was read"
                raise BusyError(brief, hint="run it again")
            if merged != now:
                _replace(path, merged.text())
    except OSError as err:
        hint = f"give sha256 in the manifest, or make '{path.parent}' writable"
        raise LockFileError(f"'{path}' can't be written: {_reason(err)}", hint=hint) from err


def release(path: Path, words: Collection[str], *, is_trial: bool = False) -> tuple[leases.Lease, ...]:
    """Free leases, by names of VMs, keys of lines or tables; what was freed.

    The file need not be without fault: this is what mends an address that is there twice. A trial writes
    nothing.

    Raises:
        LockFileError: it can't be read or written.
    """
    path = path.resolve()
    try:
        with _locked(path.parent):
            text, _ = toml.read(path, may_be_pipe=False)
            kept, gone = leases.without(text, words)
            if gone and not is_trial:
                _replace(path, kept)
            return gone
    except FileNotFoundError:
        return ()
    except OSError as err:
        if err.errno == errno.EINVAL:
            raise _unusable(path, _reason(err)) from err
        hint = f"make '{path.parent}' writable"
        raise LockFileError(f"'{path}' can't be written: {_reason(err)}", hint=hint) from err
    except toml.TomlError as err:
        raise _unusable(path, str(err)) from err


def _merged(now: LockFile, before: LockFile, after: LockFile) -> LockFile | None:
    """What is there with our changes made to it; None if somebody else has made others of the same entry."""
    entries = _changed(now.entries, before.entries, after.entries)
    given = _changed(_flat(now.leases), _flat(before.leases), _flat(after.leases))
    if entries is None or given is None:
        return None
    once = [(table, value) for (table, _), value in given.items() if _is_unique(table)]
    if len(set(once)) < len(once):
        return None  # somebody else has leased the same address to another VM
    held: dict[str, dict[str, str]] = {}
    for (table, name), value in given.items():
        held.setdefault(table, {})[name] = value
    pushed = _changed(now.pushed, before.pushed, after.pushed)
    return None if pushed is None else LockFile(entries, held, pushed)


def _changed(now: Mapping[K, V], before: Mapping[K, V], after: Mapping[K, V]) -> dict[K, V] | None:
    """One mapping with the difference of two others made to it; None if it has another change of the same."""
    found = dict(now)
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if found.get(key) not in (old, new):
            return None
        found.pop(key, None)
        if new is not None:
            found[key] = new
    return found


def _is_unique(table: str) -> bool:
    kind = leases.kind_of(table)
    return kind is not None and kind.is_unique


def _flat(given: Mapping[str, Mapping[str, str]]) -> dict[tuple[str, str], str]:
    return {(table, name): value for table, held in given.items() for name, value in held.items()}


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One writer at a time. The lock is on the directory, so that no other file is left behind."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # NFS can't lock a directory; what is replaced is compared before
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # of one that was killed: there is one writer at a time
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, draft)
        draft.rename(path)
        durable.sync_name(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _parsed(tree: dict[str, Any], held: leases.Leases, path: Path, text: str) -> LockFile:
    version = tree.pop("version", None)
    if version != VERSION:
        stated = "states no version" if version is None else f"is of version '{version}'"
        raise _unusable(path, f"it {stated}, and this program reads version {VERSION}")
    networks = _checked_table(tree.pop("network", {}), "network", path)
    tables = {leases.network_table(name): table for name, table in networks.items()}
    tables[leases.PLACEMENT] = _checked_table(tree.pop(leases.PLACEMENT, {}), leases.PLACEMENT, path)
    given = held.given()
    if {name: table for name, table in tables.items() if table} != given:
        raise _misplaced(tables, held, text, path)
    pushed = dict(_parsed_images(_checked_table(tree.pop(CACHE, {}), CACHE, path), path))
    entries = {}
    for place, words in _tables(tree, path):
        if not _PLACE.fullmatch(place):
            raise _unusable(path, f"'{place}' is no place in a manifest")
        _check_words(place, words, path)
        entries[place] = LockEntry(words)
    return LockFile(entries, given, pushed)


def _misplaced(
    tables: Mapping[str, Mapping[str, Any]], held: leases.Leases, text: str, path: Path
) -> LockFileError:
    """Which line has a lease that does not stand below the header of its table."""
    given = held.given()
    taken = {lease.line for lease in held.lines}
    rows = [(line, row) for line, row in enumerate(text.splitlines(), start=1) if line not in taken]
    found = (
        (line, table, name)
        for table, names in tables.items()
        if isinstance(names, dict)
        for name, value in names.items()
        if given.get(table, {}).get(name) != value
        for line, row in rows
        if str(value) in row
    )
    line, table, name = min(found, default=(0, leases.network_table("lan"), "NAME"))
    where = f"line {line}: " if line else ""
    return LockFileError(
        f"the lock file '{path}' can't be used: {where}a lease is one line below the header of its table",
        hint=f'write {name} = "…" below [{table}]',
    )


def _parsed_images(tables: dict[str, Any], path: Path) -> Iterator[tuple[tuple[str, str], LockedImage]]:
    for name, built in tables.items():
        for digits, words in _checked_table(built, f"{CACHE}.{name}", path).items():
            place = f"{CACHE}.{name}.{digits}"
            table = _checked_table(words, place, path)
            tools = _checked_table(table.get("tools", {}), f"{place}.tools", path)
            part, digest, recipe = (table.get(key) for key in ("part", "sha256", "recipe"))
            if not (_NAME.fullmatch(name) and _FINGERPRINT.fullmatch(digits)):
                raise _unusable(path, f"'{place}' is no image and fingerprint")
            if not all(isinstance(text, str) for text in (part, recipe, *tools.values())):
                raise _unusable(path, f"'{place}' does not say what was built")
            if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
                raise _unusable(path, f"'{place}.sha256' is no SHA-256 digest")
            yield (name, digits), LockedImage(str(part), digest, str(recipe), tools)


def _tables(tree: dict[str, Any], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for table, names in tree.items():
        for name, keys in _checked_table(names, table, path).items():
            for key, words in _checked_table(keys, f"{table}.{name}", path).items():
                place = f"{table}.{name}.{key}"
                yield place, _checked_table(words, place, path)


def _checked_table(value: Any, place: str, path: Path) -> dict[str, Any]:  # noqa: ANN401  any TOML value
    if not isinstance(value, dict):
        raise _unusable(path, f"'{place}' is no table")
    return value


def _check_words(place: str, words: dict[str, Any], path: Path) -> None:
    for key, value in words.items():
        items = value if isinstance(value, list) and key not in _SINGLE_KEYS else [value]
        if not all(isinstance(item, str) for item in items):
            raise _unusable(path, f"'{place}.{key}' is no text")
    for key in ("sha256", "versions"):
        if key in words and not _DIGEST.fullmatch(words[key]):
            raise _unusable(path, f"'{place}.{key}' is no SHA-256 digest")
    digests = words.get("digests", [])
    if not isinstance(digests, list) or not all(map(_DIGEST.fullmatch, digests)):
        raise _unusable(path, f"'{place}.digests' is no list of SHA-256 digests")
    if "sha256" not in words:
        raise _unusable(path, f"'{place}' has no sha256")


def _unusable(path: Path, why: str) -> LockFileError:
    return LockFileError(f"the lock file '{path}' can't be used: {why}", hint=_SETTLE_HINT)


def _reason(err: OSError) -> str:
    return (err.strerror or str(err)).lower()
