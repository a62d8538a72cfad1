"""Who a container's program runs as: the user of an image's configuration, looked up as runtimes do.

A number that passwd does not know has group 0 and the home `/`. Supplementary groups come from the group
file, for a user that passwd knows, and only where the image names no group. See `GetExecUser` of
moby/sys/user, which Docker, containerd and runc share.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.sources.source import BuiltRoot

_NUMBER = re.compile("[+-]?[0-9]+")
PASSWD, GROUP = "/etc/passwd", "/etc/group"
MAX_ID = 2**31 - 1
"""The largest that runtimes take."""


@dataclass(frozen=True)
class ExecUser:
    """A user as the kernel knows one."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)
    """The supplementary groups, with `gid` first, as runtimes set them."""
    home: str = "/"
    login: str = ""
    """The name under which a login gives these very groups; empty where there is none."""


@dataclass(frozen=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def exec_user(user: str, root: BuiltRoot, written: str) -> ExecUser:
    """The user that `USER`, `USER:GROUP` or nothing stands for in an image.

    Args:
        user: names or numbers.
        root: the image's files.
        written: the image's name in messages.

    Raises:
        SourceError: the image does not know a name, or a number is none that a runtime takes.
    """
    name, _, group = user.partition(":")
    known = _user(name, root, written)
    if group:
        gid = _group(group, root, written)
        return ExecUser(known.uid, gid, (gid,), known.home or "/")
    further = (one.gid for one in _groups(root) if known.name and known.name in one.members)
    groups = tuple(dict.fromkeys((known.gid, *further)))
    return ExecUser(known.uid, known.gid, groups, known.home or "/", known.name)


def _user(name: str, root: BuiltRoot, written: str) -> _User:
    number = _number(name or "0", written)
    users = _users(root)
    found = next((one for one in users if (one.name == name if number is None else one.uid == number)), None)
    if found is None and number is None:
        raise _unknown("user", name, PASSWD, written)
    return found or _User("", number or 0, 0, "/")


def _group(name: str, root: BuiltRoot, written: str) -> int:
    number = _number(name, written)
    if number is not None:
        return number
    found = next((one.gid for one in _groups(root) if one.name == name), None)
    if found is None:
        raise _unknown("group", name, GROUP, written)
    return found


def _unknown(what: str, name: str, table: str, written: str) -> SourceError:
    return SourceError(
        f"'{written}' runs its program as {what} '{name}', which is not in its {table}",
        hint=f"make the {what} where the image is made, or give the image another {table} "
        "with [[image.NAME.file]]",
    )


def _number(text: str, written: str) -> int | None:
    """The number that a text is; None of a name."""
    if not _NUMBER.fullmatch(text):
        return None
    if text.startswith("-") or len(text) > 20 or int(text) > MAX_ID:
        raise SourceError(f"'{written}' runs its program as '{text}', which is no id from 0 to {MAX_ID}")
    return int(text)


def _users(root: BuiltRoot) -> Iterator[_User]:
    for name, (_, uid, gid, _, home) in _lines(root, PASSWD, fields=5):
        if _is_id(uid) and _is_id(gid):
            yield _User(name, int(uid), int(gid), home)


def _groups(root: BuiltRoot) -> Iterator[_Group]:
    for name, (_, gid, members) in _lines(root, GROUP, fields=3):
        if _is_id(gid):
            yield _Group(name, int(gid), tuple(filter(None, members.split(","))))


def _lines(root: BuiltRoot, table: str, *, fields: int) -> Iterator[tuple[str, list[str]]]:
    """The name and as many further fields of each line; those that a short line lacks are empty."""
    for line in (root.read(table) or b"").split(b"\n"):
        name, *rest = os.fsdecode(line.strip()).split(":")
        if name and not name.startswith("#"):
            yield name, (rest + [""] * fields)[:fields]


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID
