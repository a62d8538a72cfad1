"""Settings of sshd: a drop-in file, the Include line for it (sshd_config(5)), and root's keys."""

from __future__ import annotations

import fnmatch
import functools
from textwrap import indent
from typing import TYPE_CHECKING

from bangerbuild.guest.sshd_access import refusals
from bangerbuild.guest.sshd_config import CONFIG, absolute, directives
from bangerbuild.tree import GuestDirectory, GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.guest.view import GuestView

DROP_IN = "/etc/ssh/sshd_config.d/00-bangerbuild.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf"
INCLUDE_OURS = f"Include {DROP_IN}"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"

_FOR_ROOT = """\
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
"""
# Outside of the block the lines hold for all. In it they stand once more, before any block of the image in
# which root would have other values. It ends with `Match all`: no other file may go on in it. The image's
# other users keep the image's AuthorizedKeysFile. OpenSSH 8.2 and 8.3 take no notice of Match blocks in
# included files; there root has the default, which is the same file.
_SETTINGS = f"""\
# sshd takes the first value it meets: this file's name sorts before those of others.
{_FOR_ROOT}
Match User root
{indent(_FOR_ROOT, "    ")}    AuthorizedKeysFile {AUTHORIZED_KEYS}
Match all
"""


def drop_in(view: GuestView, *, has_keys: bool) -> GuestEdits:
    """The file with the settings; its name sorts before all others in the directory.

    With keys for root, a warning for each setting of the image that keeps root out all the same.
    """
    warnings = tuple(refusals(view)) if has_keys else ()
    return GuestEdits((GuestFile(DROP_IN, _SETTINGS.encode()),), warnings)


def include_line(view: GuestView) -> GuestEdits:
    """The image's sshd_config with an Include line put first; no change if it is not needed.

    The line names the whole directory if nothing reads that yet, so that declared files in it are read too.
    But a file that the image has there is read where the image reads it, or not at all: read a second time,
    or for the first time, it could keep sshd from starting. The mode and all other bytes of the file stay.
    Without an sshd_config there is no change.
    """
    config = view.read(CONFIG)
    if config is None or _is_first(view, config):
        return GuestEdits()
    line = INCLUDE_OURS if _reads_drop_ins(config) or _others(view) else INCLUDE
    warning = (
        f"the image's {CONFIG} has settings of its own before it reads {DROP_IN}: "
        f"the line '{line}' is put first (OpenSSH knows it from 8.2 on)"
    )
    mode = view.mode(CONFIG)
    changed = GuestFile(CONFIG, f"{line}\n".encode() + config, mode=0o600 if mode is None else mode)
    return GuestEdits((changed,), (warning,))


def _is_first(view: GuestView, config: bytes) -> bool:
    """Whether the drop-in is what sshd reads first: no file in its directory has a name before its name."""
    name = DROP_IN.rpartition("/")[2]
    return reads_drop_ins_first(config) and all(other >= name for other in _others(view))


def _others(view: GuestView) -> tuple[str, ...]:
    """The image's own files in the drop-in's directory."""
    names = view.names(DROP_IN.rpartition("/")[0])
    return tuple(name for name in names if name.endswith(".conf") and not name.startswith("."))


@functools.lru_cache(maxsize=64)
def reads_drop_ins_first(config: bytes) -> bool:
    """Whether the first directive of an sshd_config includes the drop-in's directory.

    Any directive before the Include, even a harmless one, makes this false.
    """
    first = next(directives(config), None)
    return first is not None and first.keyword == "include" and _covers_drop_in(first.arguments[:1])


@functools.lru_cache(maxsize=64)
def _reads_drop_ins(config: bytes) -> bool:
    """Whether any line of an sshd_config includes the drop-in's directory."""
    return any(one.keyword == "include" and _covers_drop_in(one.arguments) for one in directives(config))


def _covers_drop_in(patterns: Sequence[str]) -> bool:
    return any(_matches(absolute(pattern).split("/"), DROP_IN.split("/")) for pattern in patterns)


def _matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Match like glob(7): a wildcard does not match a slash."""
    return len(pattern) == len(path) and all(map(fnmatch.fnmatchcase, path, pattern))


def authorized_keys(keys: Sequence[str]) -> GuestEdits:
    """Root's authorized_keys with exactly these keys, one per line.

    sshd's StrictModes requires that the home directory, `.ssh` and the file belong to root and are writable
    by no other user.
    """
    content = "".join(f"{key}\n" for key in keys).encode("utf-8", "surrogateescape")
    return GuestEdits(
        (
            GuestDirectory("/root", 0o700),
            GuestDirectory("/root/.ssh", 0o700),
            GuestFile(AUTHORIZED_KEYS, content, mode=0o600),
        )
    )
