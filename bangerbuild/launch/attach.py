"""`attach.sh` and `detach.sh`: what a VM's root needs to be set up on the host before the VM can start.

What that is, the root's format says (`HostSetup`). Here is what holds for every format: the way into the VM's
directory, error messages, and the checks that come first. Where a root needs nothing of the host, both
scripts say so and do nothing.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from bangerbuild.disk.attachment import ATTACHED_ROOT
from bangerbuild.launch import shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.attachment import HostSetup
    from bangerbuild.launch.machine import Machine

ATTACH_COMMENT = f"""\
Sets up the root disk of the VM {{name}}, {{about}}, and leaves it as {ATTACHED_ROOT}.
{{root}}Does nothing where that is done already.
"""

DETACH_COMMENT = """\
Takes down what attach.sh sets up for the VM {name}. {root}Does nothing where nothing is set up.
"""

NOTHING = """\
#!/bin/sh
# The root of the VM {name} is {about}.
echo "{path} needs no device: there is nothing to {verb}"
"""

BEGINNING = """\
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C

fail() {
    printf '%s: %s\\n' "${0##*/}" "$*" >&2
    exit 1
}
"""

PROGRAMS = """\
for tool in {programs}; do
    command -v "$tool" >/dev/null || fail "there is no $tool here: it comes with {packages}"
done
"""

ROOT = """\
[ "$(id -u)" -eq 0 ] || fail "needs root"
"""


def attach_script(machine: Machine) -> str:
    """The text of attach.sh."""
    setup = machine.root.setup
    if setup is None:
        return _nothing(machine, "attach")
    return _script(machine, setup, ATTACH_COMMENT, setup.attach)


def detach_script(machine: Machine) -> str:
    """The text of detach.sh."""
    setup = machine.root.setup
    if setup is None:
        return _nothing(machine, "detach")
    return _script(machine, setup, DETACH_COMMENT, setup.detach)


def _nothing(machine: Machine, verb: str) -> str:
    root = machine.root
    return NOTHING.format(name=machine.name, about=root.about, path=root.drives[-1].path, verb=verb)


def _script(machine: Machine, setup: HostSetup, comment: str, body: str) -> str:
    about, root = machine.root.about, "Needs root. " if setup.needs_root else ""
    values = {"vm": machine.name, **setup.variables}
    parts = (
        "".join(f"{name}={quote(value)}\n" for name, value in values.items()) + BEGINNING,
        setup.functions,
        "".join(_checks(setup)) + setup.prepare,
        body,
    )
    head = shell.head(comment.format(name=machine.name, about=about, root=root))
    return head + "\n".join(part for part in parts if part)


def _checks(setup: HostSetup) -> Iterator[str]:
    if setup.programs:
        names = " ".join(program.name for program in setup.programs)
        yield PROGRAMS.format(programs=names, packages=" or ".join(setup.packages))
    if setup.needs_root:
        yield ROOT
