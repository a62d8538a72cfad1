"""Settings of sshd: a drop-in file, the Include line for it (sshd_config(5)), and root's keys."""

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
"""Longer than any path. A limit is needed because shlex takes minutes for a million characters."""

# A keyword may be quoted and may be followed by one "=" (strdelim in OpenSSH's misc.c).
_DIRECTIVE = re.compile(r'[ \t\r]*(?:"([^"]*)"|([^ \t\r"=]+))[ \t\r]*=?(.*)')


def drop_in() -> GuestEdits:
    """The file with the settings; its name sorts before all others in the directory."""
    return GuestEdits((GuestFile(DROP_IN, _SETTINGS.encode()),))


def include_line(view: GuestView) -> GuestEdits:
    """The image's sshd_config with the Include line put first; no change if it is not needed.

    The mode and all other bytes of the file stay. Without an sshd_config there is no change.
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
    """Whether the first directive of an sshd_config includes the drop-in's directory.

    Any directive before the Include, even a harmless one, makes this false.
    """
    # Latin-1 decodes every byte, because comments may be in any encoding.
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
    except ValueError:  # an unclosed quote: sshd refuses the file
        return False
    if not patterns:
        return False
    pattern = patterns[0] if patterns[0].startswith("/") else f"/etc/ssh/{patterns[0]}"
    return _matches(pattern.split("/"), DROP_IN.split("/"))


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
