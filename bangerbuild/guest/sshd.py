"""Settings of sshd: a drop-in file, the Include line for it (sshd_config(5)), and root's keys."""

from __future__ import annotations

import fnmatch
import functools
from typing import TYPE_CHECKING

from bangerbuild.guest.sshd_access import refusals
from bangerbuild.guest.sshd_config import CONFIG, absolute, directives
from bangerbuild.tree import GuestDirectory, GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.guest.view import GuestView

DROP_IN = "/etc/ssh/sshd_config.d/00-bangerbuild.conf"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf"
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"

# Outside of the block the lines hold for all. The block ends with `Match all`: no other file may go on in it.
# The image's other users keep the image's AuthorizedKeysFile. OpenSSH 8.2 and 8.3 take no notice of Match
# blocks in included files; there root has the default, which is the same file.
_SETTINGS = f"""\
# sshd takes the first value it meets: this file's name sorts before those of others.
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no

Match User root
    AuthorizedKeysFile {AUTHORIZED_KEYS}
Match all
"""


def drop_in(view: GuestView, *, has_keys: bool) -> GuestEdits:
    """The file with the settings; its name sorts before all others in the directory.

    With keys for root, a warning for each setting of the image that keeps root out all the same.
    """
    warnings = tuple(refusals(view)) if has_keys else ()
    return GuestEdits((GuestFile(DROP_IN, _SETTINGS.encode()),), warnings)


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
    first = next(directives(config), None)
    if first is None or first.keyword != "include" or not first.arguments:
        return False
    return _matches(absolute(first.arguments[0]).split("/"), DROP_IN.split("/"))


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
