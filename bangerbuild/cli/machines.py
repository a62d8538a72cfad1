"""The commands for VMs that run: `boot`, `ssh`, `logs`, `ps`, `stop`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bangerbuild.cli import options, output
from bangerbuild.cli.output import EXIT_FAILED, EXIT_INTERRUPTED
from bangerbuild.launch.session import NETWORK_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bangerbuild.running.at_once import Again
    from bangerbuild.running.spawning import Spawned
    from bangerbuild.running.starting import Wish

WAIT_SECONDS = 300
"""Emulated on a busy machine, systemd takes minutes."""
STOP_SECONDS = 60
VMMS = ("qemu", "cloud-hypervisor", "firecracker")
"""By their names in `launch.vmms`, which takes long to load."""
REST = "bangerbuild.rest"
"""Where the words after `--` are, in the context's meta."""


class WithRest(options.Command):
    """A command to which the words after `--` are a list of their own, and `--wait` may stand alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words after `--`, and give `--wait` its default."""
        own, _, rest = _split(args)
        ctx.meta[REST] = tuple(rest)
        return super().parse_args(
            ctx, [f"--wait={WAIT_SECONDS}" if word == "--wait" else word for word in own]
        )


class WithCommand(options.Command):
    """A command whose first word is a VM's, after which options of ours may follow: the rest is the guest's.

    The rest begins at `--`, or at the first word that is no option: so `ssh web ls -l` needs no `--`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the guest's words."""
        own, rest = self._divided(args)
        ctx.meta[REST] = tuple(rest)
        return super().parse_args(ctx, own)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """With the guest's words, which are no argument of ours."""
        return [*super().collect_usage_pieces(ctx), "[--]", "[COMMAND]..."]

    def _divided(self, args: list[str]) -> tuple[list[str], list[str]]:
        options = (one for one in self.params if isinstance(one, click.Option) and not one.is_flag)
        valued = {name for option in options for name in option.opts}
        has_vm, place = False, 0
        while place < len(args):
            word = args[place]
            if word == "--":
                return args[:place], args[place + 1 :]
            if not word.startswith("-"):
                if has_vm:
                    break
                has_vm = True
            place += 2 if word in valued else 1
        return args[:place], args[place:]


def _split(args: list[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in args:
        return args, False, []
    place = args.index("--")
    return args[:place], True, args[place + 1 :]


def _seconds(_context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """A number of seconds, `inf` too."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise click.BadParameter(f"'{value}' is no number of seconds", param=option)
    return seconds


def _forwards(
    _context: click.Context, option: click.Parameter, values: Sequence[str]
) -> tuple[tuple[int, int], ...]:
    from bangerbuild.running import starting

    found = []
    for value in values:
        try:
            found.append(starting.forward(value))
        except ValueError as err:
            message = f"'{value}' is not HOSTPORT:GUESTPORT, such as 8080:80: {err}"
            raise click.BadParameter(message, param=option) from err
    ports = [host for host, _ in found]
    if twice := [port for port in ports if ports.count(port) > 1]:
        raise click.BadParameter(f"port {twice[0]} of this host is named twice", param=option)
    return tuple(found)


def _vm(_context: click.Context, _option: click.Parameter, value: str) -> str:
    return value.removeprefix("vm.")


def _vms(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    return tuple(value.removeprefix("vm.") for value in values)


def _place(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where a VM is."""
    for option in reversed(options.place_options):
        function = option(function)
    return function


@click.command(cls=WithRest, options_metavar="[OPTIONS]")
@click.argument("vm", type=options.Names("vms"), callback=_vm)
@_place
@click.option("-d", "--detach", is_flag=True, help="Run it in the background.")
@click.option(
    "--wait",
    "wait_seconds",
    metavar="[=SECONDS]",
    callback=_seconds,
    help=f"In the background, and return when somebody can log in. [default: within {WAIT_SECONDS} s]",
)
@click.option("--no-apply", is_flag=True, help="Start it as it is; build and patch nothing.")
@click.option(
    "--net",
    "network",
    type=click.Choice(NETWORK_KINDS),
    help="QEMU's own network, the VM's tap device, or none. [default: tap if it can be used, else user]",
)
@click.option(
    "--forward",
    "forwards",
    multiple=True,
    metavar="HOSTPORT:GUESTPORT",
    callback=_forwards,
    help="Have a port of this host's loopback lead to the guest. May be repeated.",
)
@click.option("--vmm", type=click.Choice(VMMS), help="[default: what can start it]")
@click.option("--offline", is_flag=True, help="Never use the network to build.")
@click.option("--locked", is_flag=True, help="Fail if the lock file would have to change.")
@options.node
@options.jobs
@options.lock_timeout
@options.with_variables
@click.option("-q", "--quiet", is_flag=True, help="Errors and warnings only.")
@click.pass_context
def boot(  # noqa: PLR0913  # one parameter for each option of the command
    context: click.Context,
    /,
    *,
    vm: str,
    detach: bool,
    wait_seconds: float | None,
    quiet: bool,
    network: Any,  # noqa: ANN401  # one of NETWORK_KINDS, as click has checked
    forwards: tuple[tuple[int, int], ...],
    vmm: str | None,
    **wanted: Any,  # noqa: ANN401  # the options of the apply
) -> int:
    """Bring a VM to what the manifest declares, and start it.

    Its console is on this terminal: Ctrl-A X ends it, Ctrl-A D leaves it running. Words after -- are passed
    on to the VMM.
    """
    from bangerbuild.running.starting import Wish

    attached = not detach and wait_seconds is None
    again: Again | None = context.obj
    if again is None:
        wish = Wish(vmm, network, forwards, attached=attached, arguments=context.meta[REST])
        spawned, notes = _booted(vm, wish, quiet=quiet, **wanted)
    else:
        spawned, notes = again.spawned, again.notes
        for message in again.warnings:
            output.warn(message)
    for note in notes:
        output.warn(note)
    return _foreground(spawned) if attached else _background(spawned, wait_seconds, quiet=quiet)


def _booted(  # noqa: PLR0913  # one parameter for each option of the command
    vm: str,
    wish: Wish,
    *,
    quiet: bool,
    manifest: tuple[Path, ...],
    store: Path | None,
    no_apply: bool,
    offline: bool,
    locked: bool,
    jobs: int | None,
    lock_timeout: float,
    **settings: Any,  # noqa: ANN401  # what sets variables
) -> tuple[Spawned, Sequence[str]]:
    from bangerbuild.commands import boot as booting
    from bangerbuild.model.request import RunOptions
    from bangerbuild.report.reporters import reporter

    loaded = options.loaded(manifest, store=store, offline=offline, locked=locked, **settings)
    run_options = RunOptions(options.number(jobs), lock_seconds=lock_timeout, previews=False)
    with reporter(quiet=quiet, verbose=False, complete=output.completed) as telling:
        booted = booting.boot(loaded, vm, wish, None if no_apply else run_options, telling)
    return booted.spawned, booted.planned.notes


def _foreground(spawned: Spawned) -> int:
    from bangerbuild.commands import boot as booting
    from bangerbuild.running.console import Left

    if sys.stderr.isatty():
        output.say([f"{spawned.start.vm}: Ctrl-A X ends it, Ctrl-A D leaves it running, Ctrl-A H shows more"])
    try:
        left = booting.foreground(spawned)
    except KeyboardInterrupt:
        output.say([f"interrupted: {spawned.start.vm} was ended"])
        return EXIT_INTERRUPTED
    if left is Left.DETACHED:
        output.say(["", *booting.lines(spawned, None)])
    return 0


def _background(spawned: Spawned, wait_seconds: float | None, *, quiet: bool) -> int:
    from bangerbuild.commands import boot as booting

    vm = spawned.start.vm
    try:
        spawned = booting.settle(spawned)
        waited = None if wait_seconds is None else booting.wait(spawned, wait_seconds)
    except KeyboardInterrupt:
        output.say([f"interrupted: {vm} goes on running; bangerbuild stop {vm} ends it"])
        return EXIT_INTERRUPTED
    if not quiet:
        for line in booting.lines(spawned, waited):
            output.result(output.completed(line))
    return 0


@click.command(cls=WithCommand, options_metavar="[OPTIONS]")
@click.argument("vm", type=options.Names("vms"), callback=_vm)
@_place
@click.option("-i", "--identity", type=click.Path(path_type=Path), metavar="FILE", help="The private key.")
@click.pass_context
def ssh(
    context: click.Context,
    /,
    *,
    vm: str,
    identity: Path | None,
    manifest: tuple[Path, ...],
    store: Path | None,
) -> None:
    """Log in to a running VM as root, or run a command there.

    What follows the VM's name and our options is the guest's, its options too. One word is a line for the
    guest's shell, several are a program and its arguments. The exit code is the command's own, 255 if the VM
    can't be reached.
    """
    from bangerbuild.commands import machines

    machines.log_in(options.outline(manifest, store), vm, identity, context.meta[REST])


@click.command(cls=options.Command)
@click.argument("vm", type=options.Names("vms"), callback=_vm)
@_place
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the VM ends.")
def logs(*, vm: str, follow: bool, manifest: tuple[Path, ...], store: Path | None) -> None:
    """Print what a VM printed on its console since its start."""
    from bangerbuild.commands import machines

    def write(piece: bytes) -> bool:
        is_read = output.result(piece, newline=False)
        sys.stdout.flush()
        return is_read

    machines.log(options.outline(manifest, store), vm, write, follow=follow)


@click.command(cls=options.Command)
@click.argument("manifests", nargs=-1, metavar="[MANIFEST]...", type=click.Path(path_type=Path))
@_place
@options.as_json
def ps(*, manifests: tuple[Path, ...], manifest: tuple[Path, ...], store: Path | None, as_json: bool) -> None:
    """List the VMs that run."""
    from bangerbuild.commands import machines

    vms = machines.running(options.outline((*manifests, *manifest), store).store)
    if as_json:
        output.json_result(machines.to_json(vms), told=False)
        return
    for line in machines.lines(vms):
        output.result(line)


@click.command(cls=options.Command)
@click.argument("vms", nargs=-1, metavar="VM...", type=options.Names("vms"), callback=_vms)
@_place
@click.option("--all", "everything", is_flag=True, help="All that run.")
@click.option(
    "--timeout",
    "timeout_seconds",
    default=str(STOP_SECONDS),
    show_default=True,
    metavar="SECONDS",
    callback=_seconds,
    help="How long guests have to power down.",
)
@click.option("--kill", is_flag=True, help="End them at once, WHATEVER IS LOST.")
def stop(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    vms: tuple[str, ...],
    everything: bool,
    timeout_seconds: float,
    kill: bool,
    manifest: tuple[Path, ...],
    store: Path | None,
) -> int:
    """Stop VMs: power down, else end them.

    Each is asked to power down; if it does not within the timeout, its VMM is sent SIGTERM, then SIGKILL.
    """
    from bangerbuild.commands import machines

    if bool(vms) == everything:
        raise click.UsageError("name the VMs to stop, or say --all")
    stopped, idle = machines.stop(
        options.outline(manifest, store), vms, timeout_seconds, at_once=kill, everything=everything
    )
    for one in stopped:
        output.result(machines.stopped_line(one))
    for vm in idle:
        output.say([f"{vm}: not running"])
    return EXIT_FAILED if any(not one.has_ended for one in stopped) else 0
