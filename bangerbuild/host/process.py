"""Run external programs, with limits on time, output and memory. The only module that imports subprocess."""

from __future__ import annotations

import contextlib
import io
import math
import os
import resource
import select
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from bangerbuild.errors import ToolError, readable_size
from bangerbuild.host import observed, search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SEARCH_PATH = search.SEARCH_PATH
"""See there; and what programs that are run have as their PATH."""

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
"""Prefix of a command: the kernel ends it when the thread that waits for it ends, also by `kill -9`."""

_SUPERVISOR = (sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py")))
"""Not imported: it is a program of its own."""

RUNNING: dict[subprocess.Popen[bytes], signal.Signals] = {}
"""The programs that are waited for, each with the signal that ends it and what it started."""
STARTING = threading.Lock()
"""Held from a program's start until it is in RUNNING, so that `end_all` misses none."""

_BUFFER_BYTES = 256 << 10
_END_SECONDS = 5.0
"""How long a program has to end by itself."""

PACKAGES = {
    "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "e2image": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "tune2fs": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "losetup": "mount",
    "blockdev": "util-linux",
    "flock": "util-linux",
    "partx": "util-linux",
    "fallocate": "util-linux",
    "qemu-img": "qemu-utils",
    "mdir": "mtools",
    "mcopy": "mtools",
    "ip": "iproute2",
    "nft": "nftables",
    "dot": "graphviz",
    "docker": "docker.io",
}
"""Debian's names of packages that are not called as their programs."""


@dataclass(frozen=True)
class Program:
    """A program that a kind of source or of disk format needs on the host, for `doctor`."""

    name: str
    purpose: str
    """Ends the sentence "this program …"."""
    tried: Callable[[], str] | None = field(default=None, compare=False)
    """Tries whether this user can use it, and says how, in words that follow the purpose.

    It raises ToolError where it is installed and can't be used. None: what is installed can be used by all.
    """


@dataclass(frozen=True)
class Command:
    """A program with its arguments, its limits, and the exit codes that mean success."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to a minimal environment; the caller's environment is not passed on."""
    ok: frozenset[int] = frozenset({0})
    timeout_seconds: float | None = None
    output_bytes: int = 1 << 20
    """The program is ended if it prints more."""
    memory_bytes: int | None = None
    """The address space that it may use; beyond it, allocations in the program fail."""
    directory: str | None = None
    """Where it runs; None: where this program does."""
    file_bytes: int | None = None
    """The size that a file may have which it writes; beyond it, it is ended or gets an error."""
    label: str | None = None
    """What messages call it where its arguments may hold a password; None: as a shell would take it."""
    on_line: Callable[[str], None] | None = field(default=None, compare=False)
    """Is told each line that it prints, as it comes; in the thread that waits for it."""
    runs_others: bool = False
    """Whether it runs programs of somebody else's choice, which end with it whatever they do (`supervisor`).
    Limits of memory and of files are the supervisor's then."""

    def __str__(self) -> str:
        return self.label or shlex.join(self.argv)


@dataclass(frozen=True)
class Completed:
    """The result of a program: exit code, and the output of both streams."""

    code: int
    output: str


def find(program: str) -> str:
    """The program's path, looked for in the directories of `SEARCH_PATH`.

    Raises:
        ToolError: it is not installed; the hint names the package.
    """
    path = search.which(program, SEARCH_PATH)
    _note_places(program, path)
    if path is None:
        package = PACKAGES.get(program, program)
        raise ToolError(f"'{program}' is not installed", hint=f"apt install {package}")
    return path


def _note_places(program: str, found: str | None) -> None:
    """Where a program was looked for: one that is put into an earlier directory is another one."""
    for directory in SEARCH_PATH.split(os.pathsep):
        place = os.path.join(directory, program)  # noqa: PTH118  # as `which` writes it
        observed.look(place)
        if place == found:
            return


def run(command: Command) -> Completed:
    """Run a program without input and wait for it.

    It gets its own process group, which is ended if the program exceeds its time or output, or if this
    program is interrupted. The kernel ends it when this program ends.

    Raises:
        ToolError: it is missing, can't be started, exceeded a limit, or its exit code is not in `ok`.
    """
    code, output = _watch(command)
    completed = Completed(code, output.decode(errors="replace"))
    if code not in command.ok:
        raise ToolError(f"'{command}' {_ended(code)}", details=completed.output.strip())
    return completed


def printed(command: Command) -> bytes:
    """The same for what a program writes to its output alone, which no error holds.

    What it says on its other stream becomes the details of an error.

    Raises:
        ToolError: see `run`.
    """
    with tempfile.TemporaryFile() as complaints:
        code, output = _watch(command, complaints)
        if code not in command.ok:
            raise _failed(command, code, complaints)
        return output


def _failed(command: Command, code: int, complaints: IO[bytes]) -> ToolError:
    complaints.seek(0)
    said = complaints.read(_BUFFER_BYTES).decode(errors="replace").strip()
    return ToolError(f"'{command}' {_ended(code)}", details=said)


def _ended(code: int) -> str:
    return f"failed with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


@lru_cache
def _die_with_parent() -> tuple[str, ...]:
    """The prefix; empty if setpriv is missing or is busybox's, which lacks the option."""
    program = search.which(DIE_WITH_PARENT[0], SEARCH_PATH)
    prefix = (program or "", *DIE_WITH_PARENT[1:])
    if program is None:
        return ()
    try:
        probed = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    except OSError as err:
        raise ToolError(f"'{program}' can't be started: {(err.strerror or str(err)).lower()}") from err
    return () if probed.returncode else prefix


def _watch(command: Command, complaints: IO[bytes] | None = None) -> tuple[int, bytes]:
    deadline = math.inf if command.timeout_seconds is None else time.monotonic() + command.timeout_seconds
    with _running(command, complaints) as process:
        try:
            output = _collect(command, cast("IO[bytes]", process.stdout).fileno(), deadline)
            code = process.wait(_left(deadline))
        except subprocess.TimeoutExpired as err:
            _end(process)
            raise _too_slow(command) from err
        except BaseException:
            _end(process)
            raise
    return code, output


def _started(
    command: Command, argv: list[str], environment: Mapping[str, str], complaints: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            env=environment,
            cwd=command.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints or subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as err:
        raise ToolError(f"'{command}' can't be started: {(err.strerror or str(err)).lower()}") from err


@contextlib.contextmanager
def _running(command: Command, complaints: IO[bytes] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    argv = [*_die_with_parent(), find(command.argv[0]), *command.argv[1:]]
    if command.runs_others:
        argv = [*_SUPERVISOR, str(os.getpid()), *argv]
    environment = {"PATH": SEARCH_PATH, "LC_ALL": "C", **command.env}
    with STARTING:
        process = _started(command, argv, environment, complaints)
        RUNNING[process] = signal.SIGTERM if command.runs_others else signal.SIGKILL
    with contextlib.suppress(ProcessLookupError):
        _limit(process.pid, resource.RLIMIT_AS, command.memory_bytes)
        _limit(process.pid, resource.RLIMIT_FSIZE, command.file_bytes)
    try:
        with process:
            yield process
    finally:
        del RUNNING[process]


def _limit(pid: int, what: int, most_bytes: int | None) -> None:
    """Limit what a program may use; a lower limit of this process holds for it already."""
    if most_bytes is None:
        return
    _, allowed = resource.prlimit(pid, what)
    if allowed == resource.RLIM_INFINITY or allowed > most_bytes:
        resource.prlimit(pid, what, (most_bytes, most_bytes))


def end_all() -> None:
    """End all programs that threads of this process wait for."""
    with STARTING:
        for process in tuple(RUNNING):
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and everything it has started."""
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.killpg(process.pid, RUNNING.get(process, signal.SIGKILL))


def _left(deadline: float) -> float | None:
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic())


def _too_slow(command: Command) -> ToolError:
    return ToolError(f"'{command}' did not end within {command.timeout_seconds:g} s")


def _collect(command: Command, fd: int, deadline: float) -> bytes:
    """The output of the program, until it closes it."""
    output, told = bytearray(), 0
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            if not selector.select(_left(deadline)):
                raise _too_slow(command)
            piece = os.read(fd, 1 << 16)
            output += piece
            told = _tell(command, output, told, is_at_end=not piece)
            if not piece:
                return bytes(output)
            if len(output) > command.output_bytes:
                raise ToolError(f"'{command}' printed more than {readable_size(command.output_bytes)}")


def _tell(command: Command, output: bytearray, told: int, *, is_at_end: bool) -> int:
    """Tell the lines that are whole, or at the end all; up to which byte."""
    end = len(output) if is_at_end else output.rfind(b"\n", told) + 1
    if command.on_line is None or end <= told:
        return told
    for line in output[told:end].decode(errors="replace").splitlines():
        command.on_line(line)
    return end


class Conversation:
    """A program that is given bytes and prints lines, until one of the two ends it.

    It is told that this side is gone by the end of its input, whatever ends this process.
    """

    def __init__(
        self, command: Command, environment: Mapping[str, str], said: Callable[[bytes], None]
    ) -> None:
        """Start it.

        Args:
            command: `argv` counts, with the whole path of the program.
            environment: of the program; nothing is added.
            said: is told lines as they come, several at once, by the thread that calls `listen`.

        Raises:
            ToolError: it can't be started.
        """
        self._said = said
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `listen`
        try:
            self._process = subprocess.Popen(
                command.argv,
                env=environment,
                cwd=command.directory,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                start_new_session=True,
            )
        except OSError as err:
            raise ToolError(f"'{command}' can't be started: {(err.strerror or str(err)).lower()}") from err

    def give(self, data: bytes) -> None:
        """Write to its input. What it does not take, as it has ended, is dropped."""
        stdin = cast("IO[bytes]", self._process.stdin)
        with contextlib.suppress(BrokenPipeError):
            stdin.write(data)
            stdin.flush()

    def hang_up(self) -> None:
        """End its input, so that it ends. May be called from any thread."""
        with contextlib.suppress(OSError, ValueError):
            cast("IO[bytes]", self._process.stdin).close()

    def listen(self, wait_seconds: float, most_bytes: int) -> tuple[int, str]:
        """Hand on what it prints until it ends; its exit code, and the end of what it complained about.

        Args:
            wait_seconds: how long lines are gathered before they are handed on.
            most_bytes: how many are gathered at most, but for one line.
        """
        stdout = cast("IO[bytes]", self._process.stdout).fileno()
        gathered, due = bytearray(), math.inf
        with self._process, self._complaints:
            while True:
                ready, _, _ = select.select([stdout], [], [], _left(due))
                piece = os.read(stdout, 1 << 16) if ready else b""
                if piece and not gathered:
                    due = time.monotonic() + wait_seconds
                gathered += piece
                is_at_end = bool(ready) and not piece
                if is_at_end or len(gathered) >= most_bytes or time.monotonic() >= due:
                    whole = len(gathered) if is_at_end else gathered.rfind(b"\n") + 1
                    if whole:
                        self._said(bytes(gathered[:whole]))
                        del gathered[:whole]
                    due = time.monotonic() + wait_seconds if gathered else math.inf
                if is_at_end:
                    break
            code = self._process.wait()
            size = self._complaints.seek(0, io.SEEK_END)
            self._complaints.seek(max(0, size - _BUFFER_BYTES))
            return code, self._complaints.read().decode(errors="replace").strip()


class Servant:
    """A program that works beside this one, writes what it says to a file, and ends with it.

    Raises:
        ToolError: it can't be started.
    """

    def __init__(self, command: Command, environment: Mapping[str, str], log: Path) -> None:
        """Start it.

        Args:
            command: `argv`, with the whole path of the program, and `directory` count.
            environment: of the program; nothing is added.
            log: a file that is not there yet.
        """
        self._log = log
        argv = [*_die_with_parent(), *command.argv]
        try:
            with log.open("xb") as said:
                self._process = subprocess.Popen(
                    argv,
                    env=environment,
                    cwd=command.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
        except OSError as err:
            raise ToolError(f"'{command}' can't be started: {(err.strerror or str(err)).lower()}") from err

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def said(self) -> str:
        """What it wrote, or the end of that."""
        return self._log.read_bytes()[-_BUFFER_BYTES:].decode(errors="replace").strip()

    def end(self) -> None:
        """End it and what it has started, and wait for it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
