"""A script for a guest that runs the program of a container image as the image's configuration says.

As the guest's init, the script mounts the filesystems that a container has, and powers the machine off when
the program ends.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Protocol

from bangerbuild.errors import SourceError
from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELL = "/bin/sh"
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_ROOT = ("", "root", "0", "root:root", "0:0")
_USUAL = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
"""The environment of a container whose image sets nothing else."""

_HEAD = f"""\
#!{SHELL}
# Runs the program of the container image as the image says. Written by bangerbuild.
if [ $$ = 1 ]; then
    mount -o remount,rw /
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mount -a
fi 2>/dev/null
"""
_AS_USER = """\
run() {
    if chroot --userspec="$user" --skip-chdir / true 2>/dev/null; then
        chroot --userspec="$user" --skip-chdir / "$@"
    else
        su -s /bin/sh "${user%%:*}" -c 'exec "$@"' sh "$@"
    fi
}
"""
_TAIL = """\
if [ $$ != 1 ]; then
    run "$@"
    exit
fi
run "$@"
echo "the program ended with exit code $?"
mount -o remount,ro / 2>/dev/null
sync
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
"""


class ContainerProgram(Protocol):
    """The image's configuration of its program; `ImageConfig` satisfies this."""

    @property
    def env(self) -> tuple[str, ...]: ...
    @property
    def working_dir(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def entrypoint(self) -> tuple[str, ...]: ...
    @property
    def cmd(self) -> tuple[str, ...]: ...


def entrypoint(path: str, program: ContainerProgram, written: str) -> GuestEdits:
    """The script as a file at a guest path; `written` is the image's name in messages.

    Raises:
        SourceError: the image has no program.
    """
    command = (*program.entrypoint, *program.cmd)
    if not command:
        raise SourceError(
            f"'{written}' says no program that could be run",
            hint="leave `entrypoint` out, and write an init of your own with [[image.NAME.file]]",
        )
    strange = [line for line in program.env if not _NAME.fullmatch(line.partition("=")[0])]
    warnings = tuple(f"no shell can set '{line.partition('=')[0]}': it is left out" for line in strange)
    return GuestEdits((GuestFile(path, "".join(_lines(program, command)).encode(), 0o755),), warnings)


def _lines(program: ContainerProgram, command: tuple[str, ...]) -> Iterator[str]:
    given = dict(line.partition("=")[::2] for line in program.env)
    yield _HEAD
    for name, value in {**_USUAL, **given}.items():
        if _NAME.fullmatch(name):
            yield f"export {name}={shlex.quote(value)}\n"
    if program.user in _ROOT:
        yield 'run() { "$@"; }\n'
    else:
        yield f"user={shlex.quote(program.user)}\n{_AS_USER}"
    yield f"cd {shlex.quote(program.working_dir or '/')} || exit\n"
    yield f"set -- {shlex.join(command)}\n"
    yield _TAIL
