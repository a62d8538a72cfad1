"""Find what in an image keeps root out although keys are declared, and makes ports of sshd ineffective."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.guest.sshd_config import CONFIG, directives, for_root, in_pattern_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bangerbuild.guest.sshd_config import Directive
    from bangerbuild.guest.view import GuestView

DROP_INS = "/etc/ssh/sshd_config.d/"
_WANTS = "/etc/systemd/system/sockets.target.wants"
_SOCKETS = ("ssh.socket", "sshd.socket")
_GENERATORS = tuple(
    f"{directory}/systemd/system-generators/sshd-socket-generator" for directory in ("/usr/lib", "/lib")
)


def refusals(view: GuestView) -> Iterator[str]:
    """Yield a warning for each setting of the image with which sshd lets root in by no key.

    Those settings are the image's own policy, so they stay.
    """
    groups = _groups_of_root(view.read("/etc/group") or b"")
    settings: dict[str, list[Directive]] = {}
    for directive in for_root(view):
        settings.setdefault(directive.keyword, []).append(directive)
    for keyword, refuses in _REFUSALS.items():
        arguments = _arguments(settings.get(keyword.lower(), ()))
        if arguments and refuses(arguments, groups):
            yield _warning(keyword, arguments)


def _arguments(found: Sequence[Directive]) -> tuple[str, ...]:
    """Of several lines: those of Match blocks hold, else all; of AuthenticationMethods only the first."""
    lines = [directive.arguments for directive in found if directive.in_match] or [
        directive.arguments for directive in found
    ]
    if found and found[0].keyword == "authenticationmethods":
        return lines[0]
    return tuple(argument for line in lines for argument in line)


def unheard_ports(view: GuestView, files: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """Yield a warning for each file that tells sshd where to listen although systemd listens for it.

    Ubuntu has a generator that tells ssh.socket the ports of sshd's settings; elsewhere nobody reads them.

    Args:
        view: the guest.
        files: path and content of what is declared.
    """
    listening = [unit for unit in _SOCKETS if view.exists(f"{_WANTS}/{unit}")]
    if not listening or any(map(view.exists, _GENERATORS)):
        return
    for path, content in files:
        is_config = path == CONFIG or (path.startswith(DROP_INS) and path.endswith(".conf"))
        keywords = {directive.keyword for directive in directives(content)} if is_config else set()
        if keywords & {"port", "listenaddress"}:
            yield (
                f"'{path}' says where sshd listens, but in this image {listening[0]} listens for it and does "
                f"not read that: give the address in a file /etc/systemd/system/{listening[0]}.d/listen.conf"
            )


def _warning(keyword: str, arguments: Sequence[str]) -> str:
    setting = " ".join((keyword, *arguments))
    return (
        f"ssh_authorized_keys lets nobody in: the image's sshd has the setting '{setting}' for root "
        f"({CONFIG} or a file that it includes)"
    )


def _groups_of_root(table: bytes) -> tuple[str, ...]:
    """Root's groups by group(5): the one with the number 0, and those that name root a member."""
    names = []
    for line in table.decode(errors="replace").split("\n"):
        name, _, number, members, *_ = (*line.split(":"), "", "", "", "")
        if name and (number == "0" or "root" in members.split(",")):
            names.append(name)
    return tuple(names)


def _allows_others(users: Sequence[str], _groups: Sequence[str]) -> bool:
    return not any(in_pattern_list("root", user.partition("@")[0]) for user in users)


def _denies_root(users: Sequence[str], _groups: Sequence[str]) -> bool:
    return any(in_pattern_list("root", user) for user in users)  # with a host it holds for some clients only


def _allows_other_groups(patterns: Sequence[str], groups: Sequence[str]) -> bool:
    return not _denies_a_group(patterns, groups)


def _denies_a_group(patterns: Sequence[str], groups: Sequence[str]) -> bool:
    return any(in_pattern_list(group, pattern) for group in groups for pattern in patterns)


def _asks_for_more(methods: Sequence[str], _groups: Sequence[str]) -> bool:
    """Whether no list of methods is one that keys alone can pass; passwords are off."""
    return not any(set(method.split(",")) <= {"publickey", "any"} for method in methods)


_REFUSALS: Mapping[str, Callable[[Sequence[str], Sequence[str]], bool]] = {
    "AllowUsers": _allows_others,
    "DenyUsers": _denies_root,
    "AllowGroups": _allows_other_groups,
    "DenyGroups": _denies_a_group,
    "AuthenticationMethods": _asks_for_more,
}
