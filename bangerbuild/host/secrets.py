"""Where secrets come from: a variable of the environment, a file, or what a program prints.

A secret is read when a plan needs it, and never before. No message here holds what was read.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bangerbuild.errors import BangerError, ToolError, readable_size
from bangerbuild.host import observed, process

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 1 << 20
"""Of one secret."""
COMMAND_SECONDS = 60.0
"""How long a program has to print one: it may ask its user for a passphrase."""
MOST_SAID = 2000
"""Characters of what a program complained about that a message holds."""


class SecretError(BangerError):
    """A secret that can't be read: why, and what to do about it."""


class SecretOrigin(Protocol):
    """Where a secret comes from. Two that are equal give the same secret, which is read once."""

    @property
    def written(self) -> str:
        """What messages call it."""

    def read(self) -> bytes:
        """The secret.

        Raises:
            SecretError: it can't be read.
        """


@dataclass(frozen=True)
class SecretVariable:
    """`{ env = "NAME" }`."""

    name: str

    @property
    def written(self) -> str:
        """The variable."""
        return f"the environment variable '{self.name}'"

    def read(self) -> bytes:
        """The variable's value, byte for byte."""
        value = os.environb.get(os.fsencode(self.name))
        if value is None:
            raise SecretError(f"{self.written} is not set", hint=f"export {self.name}=…")
        observed.note_variable(self.name, value)
        return _bounded(self, value)


@dataclass(frozen=True)
class SecretFile:
    """`{ file = "PATH" }`."""

    path: Path
    text: str = field(compare=False)
    """The path as the manifest has it."""

    @property
    def written(self) -> str:
        """The file."""
        return f"'{self.text}'"

    def read(self) -> bytes:
        """The file's content, byte for byte."""
        try:
            observed.look(self.path)
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise SecretError(f"{self.written} is no regular file", hint="name the file itself")
            with self.path.open("rb") as file:
                return _bounded(self, file.read(MOST_BYTES + 1))
        except OSError as err:
            reason = (err.strerror or str(err)).lower()
            raise SecretError(f"{self.written} can't be read: {reason}") from err


@dataclass(frozen=True)
class SecretCommand:
    """`{ command = ["PROGRAM", "ARGUMENT", …] }`."""

    argv: tuple[str, ...]
    directory: Path
    """Where it runs, and what a program with a `/` in its name is relative to."""

    @property
    def written(self) -> str:
        """The command line, as a shell would take it."""
        return f"'{self._command({})}'"

    def read(self) -> bytes:
        """What the program prints, byte for byte. It gets no input, and this program's environment."""
        observed.refuse_to_remember()
        try:
            printed = process.printed(self._command(os.environ))
        except ToolError as err:
            raise SecretError(_in_one_line(err), hint=err.hint) from err
        return _bounded(self, printed)

    def _command(self, environment: Mapping[str, str]) -> process.Command:
        program = self.argv[0]
        if "/" in program:
            program = str(self.directory / Path(program).expanduser())
        return process.Command(
            (program, *self.argv[1:]),
            env={"LC_ALL": "", **environment},
            timeout_seconds=COMMAND_SECONDS,
            output_bytes=MOST_BYTES,
            directory=str(self.directory),
        )


def _in_one_line(err: ToolError) -> str:
    """What went wrong, with what the program complained about; never what it printed."""
    said = "; ".join(line.strip() for line in (err.details or "").splitlines() if line.strip())
    return f"{err.brief}: {said[:MOST_SAID]}" if said else err.brief


def _bounded(origin: SecretOrigin, secret: bytes) -> bytes:
    if len(secret) > MOST_BYTES:
        raise SecretError(f"{origin.written} has more than {readable_size(MOST_BYTES)}")
    return secret
