"""How sshd lets people in: a drop-in, and the Include line that makes sshd read it (sshd_config(5))."""

from __future__ import annotations

import fnmatch
import functools
import re
import shlex
from typing import TYPE_CHECKING

from bangerbuild.tree import GuestDirectory, GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.guest.view import GuestView

CONFIG = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/00-bangerbuild.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"

_SETTINGS = f"""\
# sshd takes the first value it meets: this file's name sorts before those of others.
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile {AUTHORIZED_KEYS}
"""

_LONGEST_LINE = 4096
"""Longer than any path; shlex takes minutes for a million characters."""

# A keyword may be quoted and may be followed by one "=" (strdelim in OpenSSH's misc.c).
_DIRECTIVE = re.compile(r'[ \t\r]*(?:"([^"]*)"|([^ \t\r"=]+))[ \t\r]*=?(.*)')


def drop_in() -> GuestEdits:
    """The settings, read before all others of their directory."""
    return GuestEdits((GuestFile(DROP_IN, _SETTINGS.encode()),))


def include_line(view: GuestView) -> GuestEdits:
    """The image's sshd_config with the Include line put first; nothing where it need not change.

    The mode of the file stays, its other bytes too. Without an sshd_config there is nothing to change.
    """
    config = view.read(CONFIG)
    if config is None or reads_drop_ins_first(config):
        return GuestEdits()
    warning = (
        f"the image's {CONFIG} has settings of its own before it reads {DROP_IN}: "
        f"the line '{INCLUDE}' is put first (OpenSSH knows it from 8.2 on)"
    )
    mode = view.mode(CONFIG)
    changed = GuestFile(CONFIG, f"{INCLUDE}\n".encode() + config, mode=0o600 if mode is None else mode)
    return GuestEdits((changed,), (warning,))


@functools.lru_cache(maxsize=64)
def reads_drop_ins_first(config: bytes) -> bool:
    """Whether the first thing an sshd_config says is to include our drop-in's directory.

    Even a harmless setting before the Include counts against it, and a `Match` block all the more.
    """
    # Latin-1 maps every byte to a character and back: comments may be in any encoding.
    for line in config.decode("latin-1").split("\n"):
        directive = _DIRECTIVE.match(line)
        if directive is None or (directive[2] or "").startswith("#"):
            continue
        keyword = directive[1] or directive[2] or ""
        return keyword.lower() == "include" and _first_pattern_takes_drop_in(directive[3])
    return False


def _first_pattern_takes_drop_in(arguments: str) -> bool:
    if len(arguments) > _LONGEST_LINE:
        return False
    try:
        patterns = shlex.split(arguments, comments=True)
    except ValueError:  # a quote without its end: sshd refuses the file
        return False
    if not patterns:
        return False
    pattern = patterns[0] if patterns[0].startswith("/") else f"/etc/ssh/{patterns[0]}"
    return _matches(pattern.split("/"), DROP_IN.split("/"))


def _matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Match like glob(7): a wildcard never stands for a slash."""
    return len(pattern) == len(path) and all(map(fnmatch.fnmatchcase, path, pattern))


def authorized_keys(keys: Sequence[str]) -> GuestEdits:
    """Exactly these keys for root, one a line.

    StrictModes wants the home directory, `.ssh` and the file to be root's and writable by nobody else.
    """
    content = "".join(f"{key}\n" for key in keys).encode("utf-8", "surrogateescape")
    return GuestEdits(
        (
            GuestDirectory("/root", 0o700),
            GuestDirectory("/root/.ssh", 0o700),
            GuestFile(AUTHORIZED_KEYS, content, mode=0o600),
        )
    )
