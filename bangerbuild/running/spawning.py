"""Starting a VMM: in a session of its own, in the VM's directory, with the run lock and a console."""

from __future__ import annotations

import os
import signal
import socket
import time

from bangerbuild.running import run_directory
from bangerbuild.running.run_directory import CONSOLE_INPUT, CONSOLE_LOG, STATE, VMM_LOG, Running, state_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from bangerbuild.running.run_directory import RunDirectory

FREE_PORT = "\0"
"""As `launch.session` has it."""
_WRITTEN = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""Opened anew: what a descriptor that the VMM has is set to, is set for the VMM too."""
LOOPBACK = "127.0.0.1"
ENDED_BY_EXEC = 127
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end us, and a VM whose console is on our terminal."""


class Start:
    """What is executed, as plain values, so that a later start can use it again.

    Args:
        vm: the VM's name.
        vmm: the VMM's.
        program: its path.
        argv: with `FREE_PORT` in the place of a port that is chosen at the start.
        files: what lies in the run directory before.
        console: `files`, standard input and output, or `terminal`; see `launch.vmms`.
        attached: whether the console is on our terminal from the start.
        ssh: host and port of the guest's sshd; empty: there is no way to it.
        ports: of the loopback, which the VMM will listen on, beside a chosen one.
        root: the path of its root, relative to the VM's directory.
        image: the name of its image, which may have an SSH server to be waited for; empty: the guest may have
            no address.
    """

    def __init__(  # noqa: PLR0913  # one for each thing that is known of a start
        self,
        *,
        vm: str,
        vmm: str,
        program: str,
        argv: list[str],
        files: dict[str, str],
        console: str,
        attached: bool,
        ssh: str,
        ports: list[int],
        root: str,
        image: str = "",
    ) -> None:
        self.vm = vm
        self.vmm = vmm
        self.program = program
        self.argv = argv
        self.files = files
        self.console = console
        self.attached = attached
        self.ssh = ssh
        self.ports = ports
        self.root = root
        self.image = image

    @property
    def chooses_port(self) -> bool:
        """Whether a free port is to be found for it."""
        return any(FREE_PORT in word for word in self.argv)


class Spawned:
    """A VMM that was started, a child of this process.

    Args:
        start: what was asked for.
        running: what is known of it.
        directory: the VM's.
        console_fd: what is typed on its console goes there, if that is on our terminal: a FIFO, or the other
            end of a terminal, which also has what the guest prints.
    """

    def __init__(self, start: Start, running: Running, directory: str, console_fd: int | None) -> None:
        self.start = start
        self.running = running
        self.directory = directory
        self.console_fd = console_fd
        self.begun = time.monotonic()
        self._code: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more; how it ended can still be asked for."""
        if self._code is None:
            return bool(os.waitid(os.P_PID, self.running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
        return True

    def code(self) -> int | None:
        """How it has ended, negative for a signal; None: it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.running.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


def spawn(start: Start, run: RunDirectory, directory: str, lock_fd: int) -> Spawned:
    """Start the VMM; the run lock is its own from then on.

    If its console will be on our terminal, the signals of `ENDING` are blocked until it is there: whatever
    ends us after this ends the VM.

    Raises:
        OSError: it can't be executed, or the run directory can't be used.
    """
    root = _root_words(start, run)
    run.clear(root)
    for name, text in start.files.items():
        run.write(name, text)
    port = free_port() if start.chooses_port else 0
    argv = [word.replace(FREE_PORT, str(port)) for word in start.argv]
    values = {
        "vm": start.vm,
        "vmm": start.vmm,
        "since": str(time.time_ns() // 1_000_000),
        "ssh": start.ssh.replace(FREE_PORT, str(port)),
        "ports": " ".join(map(str, [*([port] if port else []), *start.ports])),
        "console": start.console,
        "root": root,
        "boot": run_directory.boot_id(),
    }
    if start.attached:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        pid, ours = _executed(start, argv, run, values, lock_fd)
    except OSError:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        raise
    values |= {"pid": str(pid), "ticks": str(run_directory.started_ticks(pid))}
    return Spawned(start, Running(values), directory, ours)


def _executed(
    start: Start, argv: list[str], run: RunDirectory, values: dict[str, str], lock_fd: int
) -> tuple[int, int | None]:
    """The process of the VMM, and our end of its console."""
    ours, typed, printed = _console(start, run)
    problem_fd, told_fd = os.pipe2(os.O_CLOEXEC)
    told_fd = run_directory.high(told_fd)
    pid = os.fork()
    if pid == 0:
        _become(start, argv, run, values, (typed, printed, lock_fd, told_fd))
    os.close(told_fd)
    for fd in (typed, printed):
        if fd is not None:
            os.close(fd)
    with os.fdopen(problem_fd, "rb") as told:
        problem = told.read()
    if problem:
        os.waitpid(pid, 0)
        number = int(problem)
        raise OSError(number, os.strerror(number), start.program)
    return pid, ours


def _root_words(start: Start, run: RunDirectory) -> str:
    """Which file the VM's root is: a new one has new host keys."""
    try:
        found = os.stat(start.root, dir_fd=run.vm_fd)
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        return int(one.getsockname()[1])


def _console(start: Start, run: RunDirectory) -> tuple[int | None, int | None, int | None]:
    """Our end of the console; what the VMM gets as its standard input and output.

    A FIFO that is open for both has no end, and whoever wants to type can come and go.
    """
    if start.console == "files":
        os.mkfifo(CONSOLE_INPUT, 0o600, dir_fd=run.fd)
        typed = os.open(CONSOLE_INPUT, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=run.fd)
        ours = os.open(CONSOLE_INPUT, _WRITTEN, dir_fd=run.fd) if start.attached else None
        return ours, typed, _appended(CONSOLE_LOG, run)
    if start.attached:
        import tty

        ours, theirs = os.openpty()
        tty.setraw(theirs)
        return ours, theirs, os.dup(theirs)
    return None, None, None


def _appended(name: str, run: RunDirectory) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=run.fd)


def _become(
    start: Start,
    argv: list[str],
    run: RunDirectory,
    values: dict[str, str],
    fds: tuple[int | None, int | None, int, int],
) -> NoReturn:
    """In the child: become the VMM. Its own start is written down before, as nobody may live to do that."""
    typed, printed, lock_fd, told_fd = fds
    try:
        os.setsid()
        os.fchdir(run.vm_fd)
        own = {"pid": os.getpid(), "ticks": run_directory.started_ticks(os.getpid())}
        run.write(STATE, state_text((values | own).items()))
        log = _appended(VMM_LOG, run)
        os.dup2(os.open(os.devnull, os.O_RDONLY) if typed is None else typed, 0)
        os.dup2(log if printed is None else printed, 1)
        os.dup2(log, 2)
        os.set_inheritable(lock_fd, True)  # noqa: FBT003  # positional only
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        os.execv(start.program, argv)  # noqa: S606  # no shell is wanted
    except OSError as err:
        os.write(told_fd, str(err.errno or 1).encode())
    finally:
        os._exit(ENDED_BY_EXEC)
