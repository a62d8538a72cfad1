"""Starting a VM: it is brought to what the manifest declares, and then its VMM is executed; for `boot`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild import graph, pipeline, shares, store
from bangerbuild.commands import machines
from bangerbuild.commands.browse import opened_disk
from bangerbuild.errors import BangerError, BusyError, StoreError, ToolError
from bangerbuild.model import StepId, Verb
from bangerbuild.model.artifacts import directory_of
from bangerbuild.planning.recorded import Recorded
from bangerbuild.running import console, disks, readiness, run_directory, spawning, starting
from bangerbuild.running.run_directory import CONSOLE_LOG, NAME, VMM_LOG, RunDirectory, UnusableError
from bangerbuild.running.stopping import TERM_SECONDS, until
from bangerbuild.steps import launch
from bangerbuild.steps.bridge import up_script
from bangerbuild.store.faults import store_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bangerbuild.launch.machine import Machine
    from bangerbuild.model import Plan, PlanReporter, Result
    from bangerbuild.model.request import RunOptions
    from bangerbuild.pipeline import Loaded
    from bangerbuild.running.run_directory import Running
    from bangerbuild.running.spawning import Spawned
    from bangerbuild.running.starting import Planned, Wish
    from bangerbuild.store import Store

AT_ONCE_SECONDS = 1.0
"""A VM that ends within that time was not started."""
LOCK_SECONDS = 0.5
"""How long the run lock is waited for where nobody is known to run: who looks on holds it for a moment."""
MOST_PORTS = 4
"""How often another port is tried where somebody else was faster."""
PORT_IS_TAKEN = "Could not set up host forwarding rule"
"""What QEMU says."""
SERVERS = (
    "usr/sbin/sshd",
    "usr/bin/sshd",
    "usr/sbin/dropbear",
    "usr/bin/dropbear",
    "sbin/dropbear",
    "bin/dropbear",
)
"""Where images have their SSH server."""


class NotStartedError(ToolError):
    """A VMM that ended before it had run its guest."""


@dataclass(frozen=True)
class Booted:
    """A VM that was started."""

    spawned: Spawned
    planned: Planned


class NothingStartedError(BangerError):
    """The VM is not as the manifest declares it."""


def boot(loaded: Loaded, vm: str, wish: Wish, options: RunOptions | None, reporter: PlanReporter) -> Booted:
    """Bring a VM to what is declared, and start it.

    Args:
        loaded: the whole manifest.
        vm: the VM's name.
        wish: how it is started.
        options: of the apply; None: it is started as it is.
        reporter: told of the apply.

    Raises:
        UsageError: there is no such VM, or it can't be started like that.
        BusyError: it runs already, or one of its disks is in use.
        BangerError: nothing was started.
    """
    machines.check_declared(vm, loaded.manifest.vms)
    pipeline.refuse_without_node(loaded)
    shares.refuse_elsewhere(loaded.manifest, "boot", f"vm.{vm}")
    directory = loaded.store / directory_of(StepId(f"vm.{vm}"))
    _refuse_running(vm, directory)
    taken = machines.ports(loaded.store, apart=vm)
    starting.refuse(vm, wish, taken)
    if options:
        _apply(loaded, vm, options, reporter, directory)
    opened = store.read(loaded.store)
    opened.check_records()
    machine = _machine(loaded, vm, opened)
    if machine.boot:
        disks.check(machine, machine.boot, directory)
    planned = starting.plan(machine, loaded.manifest.vms[vm].image, wish, taken, _up(loaded, vm))
    return Booted(spawn(planned.start, directory), planned)


def _up(loaded: Loaded, vm: str) -> Path | None:
    """The script that makes a VM's tap device: that of its network, if that has a bridge."""
    network = loaded.manifest.networks.get(loaded.manifest.vms[vm].network.name or "")
    if network is None or network.bridge is None:
        return None
    return loaded.store / up_script(network.name)


def _refuse_running(vm: str, directory: Path) -> None:
    try:
        running = run_directory.running(str(directory))
    except OSError as err:
        raise store_error(err, directory / NAME) from err
    if running:
        raise already(vm, running)


def already(vm: str, running: Running | None) -> BusyError:
    """The error for a VM that runs, with the ways to reach it."""
    if running is None or not running.pid:
        return BusyError(f"'{vm}' is being started by somebody else")
    login = f"bangerbuild ssh {vm}, " if running.ssh else ""
    return BusyError(
        f"'{vm}' is already running ({running.vmm}, process {running.pid})",
        hint=f"{login}bangerbuild logs {vm} -f, or bangerbuild stop {vm}",
    )


def _apply(loaded: Loaded, vm: str, options: RunOptions, reporter: PlanReporter, directory: Path) -> None:
    """Apply what belongs to the VM."""
    wanted = pipeline.narrowed(loaded, (f"vm.{vm}",))
    if directory.is_dir():
        _run_directory(directory).close()
    plan, results = pipeline.apply(wanted, options=options, reporter=reporter)
    _refuse_unfinished(vm, plan, results)


def _refuse_unfinished(vm: str, plan: Plan, results: Sequence[Result]) -> None:
    failed = [result for result in results if result.error is not None]
    blocked = [action.id for action in plan.actions if action.verb is Verb.BLOCKED]
    in_use = [action.id for action in plan.actions if action.in_use]
    hint = f"bangerbuild boot {vm} --no-apply starts it as it is"
    if blocked or any(not isinstance(result.error, BusyError) for result in failed):
        why = f"{blocked[0]} is blocked" if blocked else f"{failed[0].id} failed"
        raise NothingStartedError(f"'{vm}' was not started: {why}", hint=hint if blocked else None)
    if failed or in_use:
        raise BusyError(f"'{vm}' was not started: {(in_use or [failed[0].id])[0]} is in use")


def _run_directory(directory: Path) -> RunDirectory:
    try:
        return RunDirectory(str(directory))
    except UnusableError as err:
        raise StoreError(err.brief, hint=err.hint) from err
    except OSError as err:
        raise store_error(err, directory / NAME) from err


def _machine(loaded: Loaded, vm: str, opened: Store) -> Machine:
    steps = graph.all_steps(loaded.whole)
    step = next(step for step in steps if isinstance(step, launch.Launch) and step.name == vm)
    return launch.as_recorded(step, Recorded(opened).as_input_of(step.id))


def spawn(start: spawning.Start, directory: Path) -> Spawned:
    """Execute the VMM.

    Raises:
        BusyError: the VM runs.
        ToolError: it can't be executed.
        StoreError: the run directory can't be used.
    """
    run = _run_directory(directory)
    try:
        lock = _locked(run, directory, start.vm)
        try:
            return spawning.spawn(start, run, str(directory), lock)
        finally:
            os.close(lock)
    except OSError as err:
        if err.filename == start.program:
            raise ToolError(f"'{start.program}' can't be started: {(err.strerror or '').lower()}") from err
        raise store_error(err, directory / NAME) from err
    finally:
        run.close()


def _locked(run: RunDirectory, directory: Path, vm: str) -> int:
    lock = run.lock()
    if lock is None:
        raise already(vm, run_directory.running(str(directory)))
    return lock


# What comes after the start


def settle(spawned: Spawned) -> Spawned:
    """Wait until the VM has run for a moment; with another port if somebody else took the one that was free.

    Raises:
        NotStartedError: it has ended.
    """
    for _ in range(MOST_PORTS):
        _sleep_until_ended(spawned, AT_ONCE_SECONDS)
        if spawned.code() is None:
            return spawned
        if not lost_port(spawned):
            break
        spawned = _again(spawned)
    raise ended_early(spawned)


def lost_port(spawned: Spawned) -> bool:
    """Whether the VMM ended because somebody else listens on the port that was free."""
    return spawned.start.chooses_port and any(PORT_IS_TAKEN in line for line in _log(spawned, VMM_LOG))


def _again(spawned: Spawned) -> Spawned:
    return spawn(spawned.start, Path(spawned.directory))


def _sleep_until_ended(spawned: Spawned, seconds: float) -> None:
    fd = os.pidfd_open(spawned.running.pid)
    try:
        select.select([fd], [], [], seconds)
    finally:
        os.close(fd)


def _log(spawned: Spawned, name: str) -> tuple[str, ...]:
    return console.tail(f"{spawned.directory}/{NAME}/{name}")


def ended_early(spawned: Spawned, *, with_console: bool = True) -> NotStartedError:
    """The error for a VM that has ended; the last lines of its console and its VMM go with it."""
    said = [*(_log(spawned, CONSOLE_LOG) if with_console else ()), *_log(spawned, VMM_LOG)]
    vm, code = spawned.start.vm, spawned.code() or 0
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
    has_panicked = console.has_panicked(_log_path(spawned))
    brief = f"the guest of '{vm}' panicked" if has_panicked else f"'{vm}' has ended, {how}"
    return NotStartedError(brief, details="\n".join(said) or None)


def _log_path(spawned: Spawned) -> str:
    return f"{spawned.directory}/{NAME}/{CONSOLE_LOG}"


def _has_sshd(spawned: Spawned) -> bool:
    """Whether the image of a VM has an SSH server; it may be there although nobody can log in."""
    opened = store.read(Path(spawned.directory).parents[1])
    record = opened.records.get(StepId.image(spawned.start.image, "rootfs"))
    if record is None:
        return False
    with opened_disk(opened.path / record.artifacts[0], None, warn=lambda _: None) as disk:
        return any(disk.exists(f"/{path}") for path in SERVERS)


def wait(spawned: Spawned, seconds: float) -> str:
    """Wait until somebody can log in; what it was that showed it.

    Raises:
        NotStartedError: it has ended.
        ToolError: it took too long.
    """
    is_up, what = _sign(spawned)
    begun = time.monotonic()
    found = readiness.wait(is_up, lambda: spawned.code() is not None, seconds)
    if found:
        return f"{what[0]} after {time.monotonic() - begun:.1f} s"
    if found is False:
        raise ended_early(spawned)
    vm = spawned.start.vm
    raise ToolError(
        f"'{vm}' runs, but {what[1]} within {seconds:g} s",
        details="\n".join(_log(spawned, CONSOLE_LOG)) or None,
        hint=f"bangerbuild logs {vm} -f, or bangerbuild stop {vm}",
    )


def _sign(spawned: Spawned) -> tuple[readiness.Check, tuple[str, str]]:
    """What shows that it has come up, in words too: if it does, and if it does not."""
    endpoint = spawned.running.ssh
    if endpoint and spawned.start.image and _has_sshd(spawned):
        host, _, port = endpoint.rpartition(":")
        return lambda: readiness.answers(host, int(port)), ("its sshd answers", "its sshd did not answer")
    watch = readiness.ConsoleWatch(_log_path(spawned))
    return watch.is_up, ("it has come up", "its console did not show that it has come up")


def foreground(spawned: Spawned) -> console.Left:
    """Have the console on our terminal until the VM ends or the user leaves it; whatever ends us ends it.

    Raises:
        NotStartedError: it ended at once, or badly.
    """
    ended_at_once = spawned.has_ended
    while True:
        left = _shown(spawned)
        if left is console.Left.DETACHED:
            return left
        if left is console.Left.QUIT:
            end(spawned)
            return left
        _sleep_until_ended(spawned, TERM_SECONDS)
        if not lost_port(spawned):
            break
        spawned = _again(spawned)
    has_panicked = console.has_panicked(_log_path(spawned))
    ended_at_once |= time.monotonic() - spawned.begun < AT_ONCE_SECONDS
    if spawned.code() or has_panicked or ended_at_once:
        raise ended_early(spawned)
    return left


def _shown(spawned: Spawned) -> console.Left:
    if spawned.console_fd is None:
        raise RuntimeError("the console is not attached")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, spawned.console_fd)
        process_fd = os.pidfd_open(spawned.running.pid)
        stack.callback(os.close, process_fd)
        is_logged = spawned.start.console == "files"
        kind = console.LoggedConsole if is_logged else console.TerminalConsole
        log_fd = os.open(_log_path(spawned), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, log_fd)
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, spawning.ENDING)
            return console.shown(kind(spawned.console_fd, log_fd), process_fd, can_detach=is_logged)
        except BaseException:
            end(spawned)
            raise


def end(spawned: Spawned) -> None:
    """End a VMM of ours, without asking its guest."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if spawned.code() is None:
            os.kill(spawned.running.pid, number)
            until(lambda: spawned.code() is not None, time.monotonic() + TERM_SECONDS)


def lines(spawned: Spawned, waited: str | None) -> Iterator[str]:
    """What the user should know of a VM in the background."""
    running = spawned.running
    yield f"{running.vm} runs ({running.vmm}, process {running.pid})" + (f": {waited}" if waited else "")
    if running.ssh:
        yield f"  bangerbuild ssh {running.vm}          {running.ssh}"
    yield f"  bangerbuild logs {running.vm} -f"
    yield f"  bangerbuild stop {running.vm}"
