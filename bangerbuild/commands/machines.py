"""VMs that run: which there are, their logs, and how they are stopped; for `ps`, `logs`, `ssh` and `stop`."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bangerbuild.errors import StoreError, ToolError, UsageError, printable
from bangerbuild.host import process
from bangerbuild.model.artifacts import TOPS
from bangerbuild.neighbours import near
from bangerbuild.running import login, run_directory, stopping
from bangerbuild.running.run_directory import CONSOLE_LOG, NAME
from bangerbuild.running.stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.manifest.outline import Outline
    from bangerbuild.model import Json
    from bangerbuild.running.run_directory import Running

MOST_NAMES = 10
"""In a hint."""
NO_VMS = "no VM is declared: --manifest FILE names a manifest elsewhere"
FOLLOW_SECONDS = 0.1
PIECE_BYTES = 1 << 20


def check_declared(vm: str, known: Collection[str]) -> None:
    """Refuse a name that is no VM's.

    Raises:
        UsageError: there is none, perhaps with one that may be meant.
    """
    if vm not in known:
        some = f"known: {', '.join(sorted(known)[:MOST_NAMES])}" if known else NO_VMS
        raise UsageError(f"no VM is called '{vm}'", hint=near(vm, known) or some)


def directory_of(store: Path, vm: str) -> Path:
    """A VM's directory in a store."""
    return store / TOPS["vm"] / vm


def in_store(store: Path) -> list[str]:
    """The names of VMs that a store has a directory of, declared or not."""
    try:
        return sorted(os.listdir(store / TOPS["vm"]))  # noqa: PTH208  # names are wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as err:
        raise StoreError(f"'{store}' can't be read: {(err.strerror or str(err)).lower()}") from err


def running(store: Path) -> list[Running]:
    """The VMs of a store that run, by name; those of other users, who can't be looked at, are left out."""
    found = []
    for vm in in_store(store):
        try:
            one = run_directory.running(str(directory_of(store, vm)))
        except OSError:
            continue
        if one and one.pid:
            one.vm = vm
            found.append(one)
    return found


def ports(store: Path, *, apart: str) -> Mapping[int, str]:
    """The ports of the loopback that lead to VMs that run, but for one."""
    return {port: one.vm for one in running(store) if one.vm != apart for port in one.ports}


def to_json(vms: Sequence[Running]) -> dict[str, Json]:
    """The document that `ps --json` prints."""
    return {
        "vms": [
            {
                "vm": one.vm,
                "vmm": one.vmm,
                "pid": one.pid,
                "since": _since(one).isoformat(timespec="seconds"),
                "ssh": one.ssh or None,
            }
            for one in vms
        ]
    }


def _since(one: Running) -> datetime:
    return datetime.fromtimestamp(one.since_seconds, UTC)


def lines(vms: Sequence[Running]) -> Iterator[str]:
    """A line for each VM that runs, in columns."""
    rows = [("VM", "VMM", "PID", "SINCE", "SSH")]
    for one in vms:
        since = f"{_since(one).astimezone():%Y-%m-%d %H:%M:%S}"
        rows.append((one.vm, one.vmm, str(one.pid), since, one.ssh or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()


def known(found: Outline, vm: str) -> Running | None:
    """The VM of that name if it runs.

    Raises:
        UsageError: it is neither declared nor in the store.
        StoreError: it is another user's.
    """
    check_declared(vm, found.vms.union(in_store(found.store)))
    try:
        one = run_directory.running(str(directory_of(found.store, vm)))
    except OSError as err:
        raise StoreError(f"'{vm}' can't be looked at: {(err.strerror or str(err)).lower()}") from err
    if one:
        one.vm = vm
    return one


# logs


def log(found: Outline, vm: str, write: Callable[[bytes], bool], *, follow: bool) -> None:
    """Pass on what a VM has printed on its console since it was started.

    Args:
        found: where the VM is.
        vm: its name.
        write: is given pieces; False ends it.
        follow: whether to wait for more until the VM ends.

    Raises:
        UsageError: there is no such VM.
        StoreError: it was never started, or its log can't be read.
    """
    known(found, vm)
    directory = directory_of(found.store, vm)
    path = directory / NAME / CONSOLE_LOG
    try:
        file = path.open("rb")
    except FileNotFoundError as err:
        if follow and run_directory.is_held(str(directory)):
            time.sleep(FOLLOW_SECONDS)  # its VMM has just been started, and makes the file
            return log(found, vm, write, follow=follow)
        hint = f"bangerbuild boot {vm}"
        raise StoreError(f"'{vm}' has printed nothing: it was not started yet", hint=hint) from err
    except OSError as err:
        raise StoreError(f"'{path}' can't be read: {(err.strerror or str(err)).lower()}") from err
    with file:
        while True:
            has_ended = not (follow and run_directory.is_held(str(directory)))
            while piece := file.read(PIECE_BYTES):
                if not write(piece):
                    return None
            if has_ended:
                return None
            time.sleep(FOLLOW_SECONDS)


# ssh


def log_in(found: Outline, vm: str, identity: Path | None, command: Sequence[str]) -> None:
    """Become ssh, logged in to a VM.

    Args:
        found: where the VM is.
        vm: its name.
        identity: a private key; None: those beside the declared public ones, or ssh's own.
        command: what is run there; empty: a shell.

    Raises:
        UsageError: there is no such VM.
        CantConnectError: it can't be reached.
    """
    one = known(found, vm)
    if one is None:
        raise CantConnectError(f"'{vm}' is not running", hint=f"bangerbuild boot {vm} -d --wait")
    if not one.ssh:
        hint = f"bangerbuild logs {vm}, or start it with --net user"
        raise CantConnectError(f"there is no way to the sshd of '{vm}': it has no network", hint=hint)
    if identity is not None:
        if not identity.exists():
            raise UsageError(f"there is no key '{identity}'")
        identities: tuple[Path, ...] = (identity.absolute(),)
    else:
        identities = login.private_keys(found.key_files.get(vm, ()))
    words = login.arguments(vm, one.ssh, identities, command)
    try:
        program = process.find(login.SSH)
    except ToolError as err:
        raise CantConnectError(err.brief, hint="apt install openssh-client") from err
    sys.stdout.flush()
    try:
        os.chdir(directory_of(found.store, vm))
        os.execv(program, words)  # noqa: S606  # no shell is wanted
    except OSError as err:
        raise CantConnectError(f"'{program}' can't be started: {err.strerror}") from err


class CantConnectError(ToolError):
    """A VM that ssh can't get to."""

    exit_code = login.CANT_CONNECT


# stop


def stop(
    found: Outline, vms: Sequence[str], timeout_seconds: float, *, at_once: bool, everything: bool
) -> tuple[list[Stopping], list[str]]:
    """Stop VMs; what it took for each, and the names of those that did not run.

    Raises:
        UsageError: one of the names is no VM's; nothing was done.
    """
    names = [one.vm for one in running(found.store)] if everything else list(dict.fromkeys(vms))
    each = [(vm, known(found, vm)) for vm in names]
    going = [Stopping(str(directory_of(found.store, vm)), one) for vm, one in each if one is not None]
    stopping.stop(going, timeout_seconds, at_once=at_once)
    return going, [vm for vm, one in each if one is None]


HOW = {
    "power-down": "powered down",
    "SIGTERM": "ended by SIGTERM",
    "SIGKILL": "killed by SIGKILL",
}


def stopped_line(one: Stopping) -> str:
    """How a VM was stopped."""
    if not one.has_ended:
        return f"{one.running.vm}: still runs (process {one.running.pid})"
    tried = one.tried or ["power-down"]
    before = "" if len(tried) == 1 else f", as it did not {_not_by(tried)}"
    notes = "".join(f"; {printable(note)}" for note in dict.fromkeys(one.notes))
    return f"{one.running.vm}: {HOW[tried[-1]]}{before}{notes}"


def _not_by(tried: Sequence[str]) -> str:
    return " nor ".join("power down" if word == "power-down" else f"end by {word}" for word in tried[:-1])
