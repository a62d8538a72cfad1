"""The directory `run` in a VM's own: its run lock, what says which VMM runs, sockets, and the console's log.

The lock is one of the open file description (fcntl(2), F_OFD_SETLK), which the VMM inherits: the VM runs as
long as anybody has that description open. Who only asks whether it runs takes no lock, and so is in nobody's
way. `state` has what the start of a VM knew of it, a word and a value on each line.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME = "run"
LOCK = "lock"
STATE = "state"
CONSOLE_INPUT = "console.in"
"""A FIFO: what is typed on the console."""
CONSOLE_LOG = "console.log"
VMM_LOG = "vmm.log"
KNOWN_HOSTS = "known_hosts"
MOST_DIGITS = 15
LEAST_FD = 10
"""Descriptors below are given to the VMM under numbers that it is told."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_FLOCK = struct.Struct("hhqqi4x")
"""`struct flock` of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid."""
_WHOLE_FILE = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class UnusableError(OSError):
    """A run directory that can't be used, and what to do about it."""

    def __init__(self, brief: str, hint: str) -> None:
        super().__init__(brief)
        self.brief = brief
        self.hint = hint


class Running:
    """A VM that runs, as its start wrote it down. `pid` is that of its VMM."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.vm = values.get("vm", "")
        self.vmm = values.get("vmm", "")
        self.pid = _number(values.get("pid", ""))
        self.begun_ticks = _number(values.get("ticks", ""))
        """When the process was started: by that it is told from a later one of its number."""
        self.boot_id = values.get("boot", "")
        self.since_seconds = _number(values.get("since", "")) / 1000
        self.ssh = values.get("ssh", "")
        """Host and port of its sshd, `127.0.0.1:40022`; empty: there is no way to it."""
        self.ports = tuple(number for port in values.get("ports", "").split() if (number := _number(port)))
        """Of the loopback, which the VMM listens on."""
        self.console = values.get("console", "")
        self.root = values.get("root", "")
        """Which file its root was."""

    @property
    def is_itself(self) -> bool:
        """Whether the process of that number is still the one that was started."""
        return bool(self.pid) and self.boot_id == boot_id() and self.begun_ticks == started_ticks(self.pid)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < MOST_DIGITS else 0


class RunDirectory:
    """The directory, open, and made if it is missing; it is nobody's but the user's.

    Args:
        vm_directory: the VM's directory in the store, which exists.

    Raises:
        UnusableError: something else lies there, or it belongs to somebody else.
        OSError: it can't be made or opened.
    """

    def __init__(self, vm_directory: str) -> None:
        self.path = f"{vm_directory}/{NAME}"
        self.vm_fd = os.open(vm_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.is_new = False
        try:
            os.mkdir(NAME, 0o700, dir_fd=self.vm_fd)
            self.is_new = True
        except FileExistsError:
            pass
        self.fd = self._opened()

    def _opened(self) -> int:
        try:
            fd = os.open(NAME, _DIRECTORY, dir_fd=self.vm_fd)
        except OSError as err:
            if err.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise _unusable(self.path, "is no directory, and was not made here") from err
            if err.errno == errno.EACCES:
                raise _unusable(self.path, _whose(os.stat(NAME, dir_fd=self.vm_fd))) from err
            raise
        found = os.fstat(fd)
        if found.st_uid != os.geteuid():
            os.close(fd)
            raise _unusable(self.path, _whose(found))
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.fchmod(fd, 0o700)
        return fd

    def lock(self) -> int | None:
        """Take the run lock; its descriptor, or None: the VM runs, or is being started.

        Raises:
            OSError: the lock's file can't be used.
        """
        while True:
            fd = high(os.open(LOCK, _LOCK, 0o600, dir_fd=self.fd))
            try:
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE_FILE)
                if _is_same(fd, LOCK, self.fd):
                    return fd
            except OSError as err:
                os.close(fd)
                if err.errno not in {errno.EAGAIN, errno.EACCES}:
                    raise
                return None
            os.close(fd)  # somebody has removed the directory's content between the two

    def clear(self, root: str) -> None:
        """Remove what the last start left; the hosts that ssh knows stay as long as the VM has its root."""
        before = _read_state(self.fd)
        kept = {LOCK, KNOWN_HOSTS} if before and before.get("root") == root else {LOCK}
        for name in os.listdir(self.fd):
            if name not in kept:
                os.unlink(name, dir_fd=self.fd)

    def write(self, name: str, text: str) -> None:
        """Write a file, whole or not at all."""
        fd = os.open(f"{name}.new", _NEW, 0o600, dir_fd=self.fd)
        try:
            os.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
        os.rename(f"{name}.new", name, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def close(self) -> None:
        """Close both directories."""
        os.close(self.fd)
        os.close(self.vm_fd)


def _whose(found: os.stat_result) -> str:
    return f"belongs to another user (uid {found.st_uid})"


def _unusable(path: str, why: str) -> UnusableError:
    return UnusableError(f"'{path}' {why}", f"if no VM uses it: rm -r '{path}'")


def high(fd: int) -> int:
    """The same file at a descriptor that none of the VMM's takes the place of."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LEAST_FD)
    os.close(fd)
    return high


def _is_same(fd: int, name: str, dir_fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=dir_fd, follow_symlinks=False))
    except FileNotFoundError:
        return False


def boot_id() -> str:
    """A word for the time since this host was started."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def started_ticks(pid: int) -> int:
    """When a process was started, in clock ticks since the host was (proc(5)); 0: it is not there."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in {b"Z", b"X"} else int(fields[19])


def running(vm_directory: str) -> Running | None:
    """The VM of this directory if it runs; without anything known of it, it is just being started.

    Raises:
        OSError: it can't be told, as the directory is another user's.
    """
    try:
        dir_fd = os.open(f"{vm_directory}/{NAME}", _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not _is_locked(dir_fd):
            return None
        found = Running(_read_state(dir_fd) or {})
        if not found.is_itself:
            found = _held_by(dir_fd, found)
        return found
    finally:
        os.close(dir_fd)


def is_held(vm_directory: str) -> bool:
    """Whether anybody holds the run lock.

    Raises:
        PermissionError: it can't be told, as the directory is another user's.
    """
    try:
        dir_fd = os.open(f"{vm_directory}/{NAME}", _DIRECTORY)
    except PermissionError:
        raise
    except OSError:
        return False
    try:
        return _is_locked(dir_fd)
    finally:
        os.close(dir_fd)


def _is_locked(dir_fd: int) -> bool:
    try:
        fd = os.open(LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except PermissionError:
        raise
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    finally:
        os.close(fd)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _held_by(dir_fd: int, known: Running) -> Running:
    """What is known of a VM whose VMM is another process than it was: the first that has the lock open."""
    holders = processes_with(os.stat(LOCK, dir_fd=dir_fd, follow_symlinks=False))
    pid = next(iter(holders), 0)
    if pid:
        known.pid, known.begun_ticks, known.boot_id = pid, started_ticks(pid), boot_id()
    return known


def processes_with(wanted: os.stat_result) -> list[int]:
    """The processes that have a file open, as far as they can be looked at; this one apart."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        if int(name) == os.getpid():
            continue
        try:
            links = os.listdir(f"/proc/{name}/fd")
        except OSError:
            continue
        if any(_leads_to(f"/proc/{name}/fd/{link}", wanted) for link in links):
            found.append(int(name))
    return found


def _leads_to(path: str, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), wanted)
    except OSError:
        return False


def _read_state(dir_fd: int) -> dict[str, str] | None:
    try:
        fd = os.open(STATE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return None
    try:
        text = os.read(fd, 1 << 16).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)
    return dict(_pair(line) for line in text.splitlines())


def _pair(line: str) -> tuple[str, str]:
    word, _, value = line.partition(" ")
    return word, value


def state_text(values: Iterable[tuple[str, object]]) -> str:
    """The content of `STATE`."""
    return "".join(f"{word} {value}\n" for word, value in values)
