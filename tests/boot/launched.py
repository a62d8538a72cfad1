"""A VM as a user starts it: by its own qemu.sh, with QEMU's user-mode network; and a client to log in."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from tests.boot.machine import TIMEOUT_SECONDS, fail_with_console
from tests.need import need
from tests.ports import reserved_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.boot.conftest import Project

PAUSE_SECONDS = 0.5
NO_KVM = ("-machine", "accel=tcg")
"""The same machine everywhere: also under root, who may use a KVM that others may not."""


@dataclass(frozen=True)
class Launched:
    """A running VM. Its console is in a file; port `ssh_port` of the loopback leads to its sshd."""

    name: str
    process: subprocess.Popen[bytes]
    console: Path
    ssh_port: int

    def wait_for_sshd(self) -> None:
        """Return when a server introduces itself; fails the test if the VM ends or takes too long."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not _has_banner(self.ssh_port):
            if time.monotonic() > deadline:
                self._fail(f"has no sshd after {TIMEOUT_SECONDS} s")
            with suppress(subprocess.TimeoutExpired):
                self._fail(f"ended with {self.process.wait(PAUSE_SECONDS)} before its sshd answered")

    def wait_until_off(self) -> None:
        """Return when the guest has powered the machine off; fails the test if it ends otherwise."""
        try:
            code = self.process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._fail(f"did not power off within {TIMEOUT_SECONDS} s")
        if code:
            self._fail(f"ended with {code}")

    def _fail(self, what: str) -> NoReturn:
        fail_with_console(f"{self.name} {what}", self.console)


@contextmanager
def launched(
    project: Project,
    vm: str,
    console: Path,
    *arguments: str,
    cards: Callable[[int], tuple[str, ...]] | None = None,
) -> Iterator[Launched]:
    """Run the VM's qemu.sh from another directory, with more arguments for QEMU; ended on leaving.

    Args:
        project: has the VM.
        vm: its name.
        console: where its console is written.
        arguments: for QEMU.
        cards: QEMU's arguments for other network cards than qemu.sh's own, given the port to forward to sshd.
    """
    with (
        reserved_port() as port,
        console.open("wb") as output,
        project.account.start(
            [str(project.vm(vm) / "qemu.sh"), *NO_KVM, *arguments, *(cards(port) if cards else ())],
            cwd=project.account.home,
            variables={"BANGERBUILD_NET": "none" if cards else f"user,restrict=on,{_forwarded(port)}"},
            output=output,
        ) as process,
    ):
        try:
            yield Launched(vm, process, console, port)
        finally:
            process.kill()  # does nothing where it has ended


def _forwarded(port: int) -> str:
    return f"hostfwd=tcp:127.0.0.1:{port}-:22"


def _has_banner(port: int) -> bool:
    """Whether an SSH server answers: QEMU itself takes a connection before the guest does."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(4) == b"SSH-"
    return False


@dataclass(frozen=True)
class SshClient:
    """Logs in with one key, and with nothing of the user's own configuration."""

    key: Path

    @classmethod
    def with_new_key(cls, directory: Path) -> SshClient:
        """A client with a key pair of its own in `directory`, which is made where it is missing."""
        directory.mkdir(exist_ok=True)
        key = directory / "id_ed25519"
        command = [need("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(command, check=True)
        return cls(key)

    @property
    def public_key(self) -> str:
        """One line, as it stands in the file."""
        return self.key.with_suffix(".pub").read_text()

    def run(
        self, machine: Launched, command: str, *, user: str = "root", script: str = "", **options: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest with `script` as its input; the caller judges the exit code.

        Args:
            machine: where to log in.
            command: for the user's shell in the guest.
            user: of the guest.
            script: the command's standard input.
            options: of ssh_config(5); they win over those here.
        """
        settings = {
            "BatchMode": "yes",
            "IdentityFile": str(self.key),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "GlobalKnownHostsFile": "/dev/null",
            "UserKnownHostsFile": f"{self.key}.{machine.name}.known",
            "StrictHostKeyChecking": "accept-new",
            **options,
        }
        return subprocess.run(
            [
                *(need("ssh", "openssh-client"), "-F", "/dev/null", "-p", str(machine.ssh_port)),
                *(f"-o{name}={value}" for name, value in settings.items()),
                *(f"{user}@127.0.0.1", command),
            ],
            input=script,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
