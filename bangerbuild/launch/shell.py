"""What the launch scripts have in common: POSIX sh, run from any directory, also through a symlink."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from bangerbuild.disk.attachment import ATTACHED_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bangerbuild.disk.attachment import Drive
    from bangerbuild.launch.machine import Machine

HEAD = """\
#!/bin/sh
{comment}set -eu
cd -P -- "$(dirname -- "$(readlink -f -- "$0")")"
"""

WHOLE = """\

for left in *.redo *.grow; do
    if [ -e "$left" ]; then
        echo "${0##*/}: a change of ${left%.*} was interrupted: run bangerbuild apply first" >&2
        exit 1
    fi
done
"""
"""Lines that end the script where a disk is changed by half: its redo log or note lies beside it."""

ATTACHED = f"""\

if ! [ -e {ATTACHED_ROOT} ]; then
    echo "${{{{0##*/}}}}: there is no {ATTACHED_ROOT}: run attach.sh first{{as_root}}" >&2
    exit 1
fi
"""


def head(comment: str) -> str:
    """The first lines: a comment, and the way into the script's own directory."""
    lines = (f"# {line}".rstrip() for line in comment.splitlines())
    return HEAD.format(comment="".join(f"{line}\n" for line in lines))


def attached_check(machine: Machine) -> str:
    """Lines that end the script with a word on what to do where a root is not set up yet."""
    setup = machine.root.setup
    return ATTACHED.format(as_root=", as root" if setup.needs_root else "") if setup else ""


def command(program: str, options: Iterable[Sequence[str]]) -> str:
    """Lines that become this program: one option with its values on each, the script's arguments last."""
    lines = [f"exec {program}", *(" ".join(map(quote, option)) for option in options), '"$@"']
    return " \\\n    ".join(lines) + "\n"


def drive_options(vmm: str, drive: Drive) -> str:
    """What a format has this VMM told of a disk beside, each option with a comma before it."""
    return "".join(f",{name}={value}" for name, value in drive.options.get(vmm, {}).items())


def refusal(name: str, vmm: str, why: str) -> str:
    """A script that only says why a VMM can't start the VM."""
    text = quote(f"{name}: {vmm} can't start this VM: {why}")
    return f"{head('')}echo {text} >&2\nexit 1\n"
