"""Starting a VM before the rest of the program is loaded, where there is nothing to build.

The record of an `apply` that left nothing to do has the machines of its VMs. If the up-to-date check says
that it stands, as far as it is about this VM, the machine and the words of the command line tell what is
executed. All else, every doubt and every error are left to the command line.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys

from bangerbuild.uptodate import check, command, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from bangerbuild.launch.machine import Machine
    from bangerbuild.running.spawning import Spawned
    from bangerbuild.running.starting import Planned, Wish
    from bangerbuild.uptodate.command import Key
    from bangerbuild.uptodate.record import RunRecord

COMMAND = "boot"
FLAGS = {**command.SHARED_FLAGS, "-d": "detach", "--detach": "detach"}
OPTIONS = {
    **command.SHARED_OPTIONS,
    "--wait": "wait",
    "--net": "network",
    "--vmm": "vmm",
    "--manifest": "manifests",
    "--forward": "forwards",
}
REPEATED = ("manifests", "forwards", "variables", "files")
WAIT = "--wait"
DEFAULT_WAIT = f"{WAIT}=300"
"""As the command line has it; the number decides nothing here."""


class Again:
    """A VM that was started at once, and what has to be said of it."""

    def __init__(self, spawned: Spawned, notes: Sequence[str], warnings: list[str]) -> None:
        self.spawned = spawned
        self.notes = notes
        self.warnings = warnings


class Asked:
    """What a command line asks for.

    Args:
        vm: the VM's name.
        keys: of the records that may say that there is nothing to build.
        wish: how the VM is started.
    """

    def __init__(self, vm: str, keys: list[Key], wish: Wish) -> None:
        self.vm = vm
        self.keys = keys
        self.wish = wish


def started(words: Sequence[str]) -> Again | None:
    """Start the VM if this can be done at once; None: nothing was done."""
    if not words or words[0] != COMMAND or command.COMPLETION in os.environ:
        return None
    if None in (sys.stdin, sys.stdout, sys.stderr):  # a closed stream needs care
        return None
    try:
        wanted = asked(words[1:])
        return _started(wanted) if wanted else None
    except OSError:  # the command line says what is wrong
        return None


def asked(words: Sequence[str]) -> Asked | None:
    """What the words after `boot` ask for; None if they are left to click."""
    rest = list(words[words.index("--") + 1 :]) if "--" in words else []
    own = [DEFAULT_WAIT if word == WAIT else word for word in words[: len(words) - len(rest)] if word != "--"]
    found = command.split(own, FLAGS, OPTIONS, REPEATED)
    if found is None or len(found[0]) != 1:
        return None
    names, options, lists, flags = found
    if not command.are_numbers(options, wholes=("jobs",), seconds=("seconds", "wait")):
        return None
    if not command.are_settings(lists["variables"]):
        return None
    wish = _wish(options, lists["forwards"], rest, attached="detach" not in flags and "wait" not in options)
    vm = names[0].removeprefix("vm.")
    return Asked(vm, list(_keys(vm, options, lists, flags)), wish) if wish else None


def _wish(options: dict[str, str], forwards: list[str], rest: list[str], *, attached: bool) -> Wish | None:
    from bangerbuild.launch.session import NETWORK_KINDS
    from bangerbuild.launch.vmms import VMMS
    from bangerbuild.running import starting

    vmm, network = options.get("vmm"), options.get("network")
    if vmm not in {None, *(one.name for one in VMMS)} or network not in {None, *NETWORK_KINDS}:
        return None
    try:
        pairs = tuple(map(starting.forward, forwards))
    except ValueError:
        return None
    if len({host for host, _ in pairs}) < len(pairs):  # a port that is named twice
        return None
    return starting.Wish(vmm, network, pairs, attached=attached, arguments=tuple(rest))


def _keys(vm: str, options: dict[str, str], lists: dict[str, list[str]], flags: set[str]) -> Iterator[Key]:
    """Of the part that the VM needs, and of the whole."""
    for targets in ((f"vm.{vm}",), ()):
        yield command.key(
            [command.plain(path) for path in lists["manifests"]] or [command.DEFAULT_MANIFEST],
            command.plain(options["store"]) if "store" in options else None,
            targets,
            locked="locked" in flags,
            offline="offline" in flags,
            variables=lists["variables"],
            variable_files=[command.plain(path) for path in lists["files"]],
            node=options.get("node"),
        )


def _started(wanted: Asked) -> Again | None:
    for remembered in filter(None, map(record.found, wanted.keys)):
        known = record.startable(remembered, wanted.vm)
        touched = check.touched(remembered, f"vms/{wanted.vm}") if known else None
        if known and touched is not None:
            image, values, disks = known
            with Look(disks, touched, remembered.store) as look:
                return _start(remembered, wanted, look, image, values)
    return None


class Look:
    """A look at the disks that the guest wrote to, by another process, while this one prepares the start.

    Args:
        disks: what is known of the VM's, see `steps.startable`.
        touched: the artifacts that differ from what they were.
        store: the directory that they are in.

    Raises:
        OSError: somebody writes to one of them, or it can't be looked at.
    """

    def __init__(self, disks: Mapping[str, Mapping[str, object]], touched: list[str], store: str) -> None:
        self._is_good: bool | None = None if touched else True
        if not touched:
            return
        for name in touched:
            _is_free(f"{store}/{name}")
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                from bangerbuild.running.touched import are_as_declared

                code = 0 if are_as_declared(disks, touched, store) else 1
            finally:  # whatever it is, this process is not the one that says it
                os._exit(code)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_good()

    def is_good(self) -> bool:
        """Whether an apply would have nothing to do to them. Waits until that is known."""
        if self._is_good is None:
            self._is_good = os.waitpid(self._pid, 0)[1] == 0
        return self._is_good


def _start(
    remembered: RunRecord, wanted: Asked, look: Look, image: str, values: dict[str, object]
) -> Again | None:
    from bangerbuild.errors import BangerError
    from bangerbuild.launch import machine
    from bangerbuild.running import starting

    one = machine.of_plain(values)
    directory = f"{remembered.store}/vms/{wanted.vm}"
    if not _are_there(one, directory) or _has_its_port(remembered.store, wanted):
        return None
    try:
        planned = starting.plan(one, image, wanted.wish, {})
    except BangerError:
        return None
    spawned = _spawned(planned, directory) if look.is_good() else None
    return Again(spawned, planned.notes, remembered.warnings) if spawned else None


def _are_there(machine: Machine, directory: str) -> bool:
    """Whether there are all drives, and nobody writes to those that the guest will write to."""
    paths = [f"{directory}/{drive.path}" for drive in machine.drives]
    written = (path for path, drive in zip(paths, machine.drives, strict=True) if not drive.is_read_only)
    return all(map(os.path.exists, paths)) and all(map(_is_free, written))


def _has_its_port(store: str, wanted: Asked) -> bool:
    """Whether another VM that runs has one of the ports that are asked for, and may not listen on it yet."""
    from bangerbuild.running.run_directory import running

    ports = {host for host, _ in wanted.wish.forwards}
    others = (name for name in os.listdir(f"{store}/vms") if ports and name != wanted.vm)
    found = (running(f"{store}/vms/{name}") for name in others)
    return any(one and ports.intersection(one.ports) for one in found)


def _is_free(path: str) -> bool:
    """Whether nobody has a file open for writing; see `disk.in_use`, which says who has.

    Raises:
        OSError: somebody has, or it can't be told.
    """
    if not os.path.isfile(path):  # a device
        return True
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        os.close(fd)
    return True


def _spawned(planned: Planned, directory: str) -> Spawned | None:
    from bangerbuild.running.run_directory import RunDirectory
    from bangerbuild.running.spawning import spawn

    run = RunDirectory(directory)
    try:
        lock = run.lock()
        if lock is None:
            return None
        try:
            return spawn(planned.start, run, directory, lock)
        finally:
            os.close(lock)
    finally:
        run.close()
