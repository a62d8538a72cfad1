"""The command line of ssh(1) for a VM: the way to it, the hosts it knows, and the key."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SSH = "ssh"
CANT_CONNECT = 255
"""As ssh itself ends."""
SECONDS = 15
"""How long a server may take to introduce itself: QEMU takes a connection before the guest does."""


def arguments(vm: str, endpoint: str, identities: Sequence[Path], command: Sequence[str]) -> list[str]:
    """What ssh is called with, in the VM's directory.

    The server may be another at the next start, at the same port: so a VM has its own file of known hosts,
    which goes when its root is made anew.

    Args:
        vm: the VM's name.
        endpoint: host and port.
        identities: private keys; without one, those that ssh tries by itself.
        command: for the guest. One word is a line for its shell, as ssh has it; several are a program and its
            arguments, each as it is.
    """
    host, _, port = endpoint.rpartition(":")
    options = {
        "UserKnownHostsFile": "run/known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "accept-new",
        "HostKeyAlias": f"bangerbuild-{vm}",
        "CheckHostIP": "no",
        "ConnectTimeout": str(SECONDS),
        "ControlPath": "none",
        "LogLevel": "ERROR",
    }
    words = [SSH, "-p", port, "-l", "root", *(f"-o{name}={value}" for name, value in options.items())]
    if identities:
        words.append("-oIdentitiesOnly=yes")
    words += [f"-oIdentityFile={_quoted(identity)}" for identity in identities]
    return [*words, host, *([remote(command)] if command else [])]


def _quoted(path: Path) -> str:
    """As ssh_config(5) has it: `%` begins what is filled in."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def remote(command: Sequence[str]) -> str:
    """The one line that the guest's shell gets."""
    return command[0] if len(command) == 1 else shlex.join(command)


def private_keys(public: Sequence[Path]) -> tuple[Path, ...]:
    """The private keys beside declared public ones: `id_ed25519` for `id_ed25519.pub`."""
    beside = (path.with_suffix("") for path in public if path.suffix == ".pub")
    return tuple(path for path in dict.fromkeys(beside) if path.is_file())
