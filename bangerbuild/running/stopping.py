"""Stopping VMs: the guest is asked to power down, then the VMM is asked to end, then it is killed."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.running import power, run_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bangerbuild.running.run_directory import Running

TERM_SECONDS = 5.0
"""How long a VMM may take to end by SIGTERM."""
KILL_SECONDS = 5.0
"""How long the kernel may take after SIGKILL."""
AGAIN_SECONDS = 5.0
"""After this long the power button is pressed again: a guest that was still starting has missed it."""
POLL_SECONDS = 0.05


@dataclass
class Stopping:
    """One VM on its way down."""

    directory: str
    """The VM's, in the store."""
    running: Running
    tried: list[str] = field(default_factory=list)
    """What it took: `power-down`, `SIGTERM`, `SIGKILL`; the last of them did it."""
    notes: list[str] = field(default_factory=list)
    """Why one of them did nothing."""

    @property
    def has_ended(self) -> bool:
        """Whether nobody holds the run lock any more."""
        return not run_directory.is_held(self.directory)

    def press(self) -> bool:
        """Press the power button; whether the VMM took it."""
        with contextlib.ExitStack() as stack:
            try:
                fd = os.open(f"{self.directory}/{run_directory.NAME}", os.O_RDONLY | os.O_DIRECTORY)
                stack.callback(os.close, fd)
                power.power_down(self.running.vmm, f"/proc/self/fd/{fd}/api.sock")
            except (power.NoAnswerError, OSError) as err:
                why = (getattr(err, "strerror", None) or str(err)).lower()
                self.notes.append(f"its VMM takes no power-down: {why}")
                return False
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the VMM, which is still the process that was started."""
        self.tried.append(number.name)
        try:
            fd = os.pidfd_open(self.running.pid)
        except OSError:  # it has ended
            return
        try:
            if self.running.is_itself:
                signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            self.notes.append(f"process {self.running.pid} is another user's")
        finally:
            os.close(fd)

    def find_again(self) -> None:
        """Look who holds the run lock, where the process that was started is gone."""
        if not self.running.is_itself and (found := run_directory.running(self.directory)):
            self.running = found


def stop(vms: Sequence[Stopping], timeout_seconds: float, *, at_once: bool = False) -> None:
    """Stop VMs, all at the same time; what it took is noted in each.

    Args:
        vms: those that run.
        timeout_seconds: how long guests have to power down.
        at_once: kill them, whatever is lost.
    """
    if not at_once:
        _power_down(vms, timeout_seconds)
        _signal(vms, signal.SIGTERM, TERM_SECONDS)
    _signal(vms, signal.SIGKILL, KILL_SECONDS)


def _power_down(vms: Sequence[Stopping], timeout_seconds: float) -> None:
    pressed = [vm for vm in vms if vm.press()]
    for vm in pressed:
        vm.tried.append("power-down")
    deadline = time.monotonic() + timeout_seconds
    while left := [vm for vm in pressed if not vm.has_ended]:
        seconds = min(AGAIN_SECONDS, deadline - time.monotonic())
        if seconds <= 0:
            return
        _wait(left, seconds)
        for vm in left:
            if not vm.has_ended and time.monotonic() < deadline:
                vm.press()


def _signal(vms: Sequence[Stopping], number: signal.Signals, seconds: float) -> None:
    left = [vm for vm in vms if not vm.has_ended]
    for vm in left:
        vm.find_again()
        vm.signal(number)
    _wait(left, seconds)


def _wait(vms: Iterable[Stopping], seconds: float) -> None:
    """Until all have ended, or the time is up."""
    deadline = time.monotonic() + seconds
    until(lambda: all(vm.has_ended for vm in vms), deadline)


def until(is_so: Callable[[], bool], deadline: float) -> bool:
    """Wait for something; whether it came to be in time."""
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        select.select([], [], [], POLL_SECONDS)
    return True
