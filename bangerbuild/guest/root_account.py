"""Find what in an image's passwd and shadow makes sshd refuse root, or end its login at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import BangerError
from bangerbuild.guest.sshd_config import CONFIG, for_root

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bangerbuild.guest.view import GuestView

PASSWD = "/etc/passwd"  # noqa: S105  # a path
SHADOW = "/etc/shadow"
_DEFAULT_SHELL = "/bin/sh"
_NO_SHELLS = frozenset({"nologin", "false"})
_LONG_AGO = 10957
"""1 January 2000 in days: an account that ended earlier was locked by that, whatever day it is."""


@dataclass(frozen=True)
class _Account:
    """Root as an image has it: the fields of its lines, with empty ones behind them; None: no line."""

    passwd: tuple[str, ...] | None
    shadow: tuple[str, ...] | None
    uses_pam: bool


def refusals(view: GuestView, taken: Collection[str]) -> Iterator[str]:
    """Yield a warning for what of root's account keeps it out although it has a key.

    Only the image is read, not what a guest made of it, and only if it has an sshd.

    Args:
        view: the guest.
        taken: the guest paths of what is declared; what is declared counts as right.
    """
    if PASSWD in taken or not view.exists(CONFIG):
        return
    try:
        account = view.once("the account of root", _account)
    except BangerError:  # who needs that file says so
        return
    for reason in _reasons(view, account, taken):
        yield f"ssh_authorized_keys lets nobody in: {reason}"


def _account(image: GuestView) -> _Account:
    """UsePAM has its first value, and none in a Match block; without a line it is no."""
    settings = (one.arguments for one in for_root(image) if one.keyword == "usepam" and not one.in_match)
    uses_pam = [word.lower() for word in next(settings, ())] == ["yes"]
    return _Account(_of_root(image, PASSWD), _of_root(image, SHADOW), uses_pam)


def _of_root(image: GuestView, table: str) -> tuple[str, ...] | None:
    text = (image.read(table) or b"").decode(errors="surrogateescape")
    fields = (line.split(":") for line in text.split("\n") if line.startswith("root:"))
    return next(((*one, *("",) * 8) for one in fields), None)


def _reasons(view: GuestView, account: _Account, taken: Collection[str]) -> Iterator[str]:
    if account.passwd is None:
        yield f"the image's {PASSWD} has no user 'root'"
        return
    shell = account.passwd[6] or _DEFAULT_SHELL
    if shell not in taken:
        yield from _of_shell(shell, view.mode(shell))
    password, changed, end = account.passwd[1], "", ""
    if account.shadow:
        password, changed, end = account.shadow[1], account.shadow[2], account.shadow[7]
    if not {SHADOW, CONFIG} & set(taken):
        yield from _of_password(password, changed, uses_pam=account.uses_pam)
    if SHADOW not in taken and end.isdecimal() and int(end[:9]) < _LONG_AGO:
        yield f"root's account has expired, by the image's {SHADOW}"


def _of_shell(shell: str, mode: int | None) -> Iterator[str]:
    """What sshd finds wrong with its file; with nologin(8), a program, it finds nothing wrong."""
    if mode is None:
        yield f"root's shell '{shell}' is not in the image"
    elif not mode & 0o111:
        yield f"root's shell '{shell}' is not executable in the image"
    elif shell.rpartition("/")[2] in _NO_SHELLS:
        yield f"root's shell in the image is '{shell}', which ends every login at once"


def _of_password(password: str, changed: str, *, uses_pam: bool) -> Iterator[str]:
    """Sshd itself takes `!` for a locked account; for PAM only the password is locked, but it may be due."""
    if password.startswith("!") and not uses_pam:
        yield (
            f"root is locked in the image's {SHADOW} (its password begins with '!'), which holds for keys "
            f"too where sshd has 'UsePAM no': make the password '*' in the image"
        )
    if uses_pam and changed.isdecimal() and int(changed[:9]) == 0:
        yield f"root must change its password first, by the image's {SHADOW} (the third field is 0)"
