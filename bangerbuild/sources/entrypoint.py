"""A script for a guest that runs the program of a container image as a container runtime would.

As the guest's init, the script mounts the filesystems that a container has, and powers the machine off when
the program ends. A program that is an init itself takes the script's place.
"""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING, Protocol

from bangerbuild.errors import SourceError
from bangerbuild.sources import container_root, container_tools
from bangerbuild.sources.container_tools import PATH, Tools
from bangerbuild.sources.container_user import ExecUser, exec_user
from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.sources.source import BuiltRoot

FORMAT = 2
"""Raised when another script is written for the same image."""
INITS = frozenset({"init", "systemd", "openrc-init", "runit-init", "s6-linux-init"})
"""Programs that run as process 1 only, by their names."""
CONTAINER = "container"
"""The variable by which programs know that they are in a container."""

_MOUNTS = """\
if [ $$ = 1 ]; then
    {
        mount -o remount,rw /
        mount -t proc proc /proc
        mount -t sysfs sysfs /sys
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        mount -t devtmpfs devtmpfs /dev
        mkdir -p /dev/pts /dev/shm /dev/mqueue
        mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
        mount -t tmpfs -o nosuid,nodev,mode=1777 shm /dev/shm
        mount -t mqueue mqueue /dev/mqueue
        ln -s /proc/self/fd /dev/fd
        ln -s fd/0 /dev/stdin
        ln -s fd/1 /dev/stdout
        ln -s fd/2 /dev/stderr
        echo 9 >/sys/class/net/lo/flags # up
        read -r name </etc/hostname # without a line break at its end it is read all the same
        [ -z "$name" ] || echo "$name" >/proc/sys/kernel/hostname
    } 2>/dev/null
    mount -a
    # So that /dev/stdout is a device that the program's user may open.
    if (: <>/dev/console) 2>/dev/null; then
        exec <>/dev/console >&0 2>&1
        chown $uid /dev/console
    fi
fi
read -r host </proc/sys/kernel/hostname
"""
_TAIL = """\
[ $$ = 1 ] || exec $switch"$@"
$switch"$@"
echo "the program ended with exit code $?"
kill -KILL -1
mount -o remount,ro / 2>/dev/null
sync
echo o >/proc/sysrq-trigger
sleep 5
while :; do
    echo b >/proc/sysrq-trigger # where nothing can switch the power off
    sleep 5
done
"""


class ContainerProgram(container_root.Places, Protocol):
    """The image's configuration of its program; `ImageConfig` satisfies this."""

    @property
    def env(self) -> tuple[str, ...]: ...
    @property
    def user(self) -> str: ...
    @property
    def entrypoint(self) -> tuple[str, ...]: ...
    @property
    def cmd(self) -> tuple[str, ...]: ...
    @property
    def stop_signal(self) -> str: ...


def entrypoint(path: str, program: ContainerProgram, root: BuiltRoot, written: str) -> GuestEdits:
    """The script as a file at a guest path, and what else a runtime makes.

    Args:
        path: of the script.
        program: what the image says of it.
        root: what the image holds.
        written: the image's name in messages.

    Raises:
        SourceError: the image has no program, lacks what the script needs, or does not know the user.
    """
    command = _command(program, written)
    tools = Tools(root)
    container_tools.require(tools, written)
    user = exec_user(program.user, root, written)
    switch = tools.switch(user)
    if switch is None:
        raise _no_switch(program.user or "root", user, written)
    env = _environment(program)
    text = "".join((*_head(tools, user), *_start(program, env, tools, user), *_run(switch, command)))
    script = GuestFile(path, _encoded(text, written), 0o755)
    missing = container_root.missing_program(command, env, program, root)
    made = container_root.directories(program, root, written)
    return GuestEdits((*made, script), (*_warnings(program), *missing))


def _command(program: ContainerProgram, written: str) -> tuple[str, ...]:
    command = (*program.entrypoint, *program.cmd)
    if not command:
        raise SourceError(
            f"'{written}' says no program that could be run",
            hint="leave `entrypoint` out, and write an init of your own with [[image.NAME.file]]",
        )
    return command


def _no_switch(name: str, user: ExecUser, written: str) -> SourceError:
    groups = ",".join(map(str, user.groups))
    return SourceError(
        f"'{written}' has no program that could run its own as '{name}' "
        f"(user {user.uid}, group {user.gid}, groups {groups})",
        hint="install coreutils (chroot) or util-linux (setpriv) where the image is made",
    )


def _environment(program: ContainerProgram) -> dict[str, str]:
    given = dict(line.partition("=")[::2] for line in program.env if _is_setting(line))
    given.pop(CONTAINER, None)
    return {"PATH": PATH} | given


def _is_setting(line: str) -> bool:
    return line.find("=") > 0


def _warnings(program: ContainerProgram) -> Iterator[str]:
    for line in program.env:
        if not _is_setting(line):
            yield f"the image's variable '{line}' has no name or no value: it is left out"
        elif line.startswith(f"{CONTAINER}="):
            yield f"the image's variable '{line}' is left out: a VM is no container"
    if program.stop_signal:
        yield (
            f"the image's stop signal '{program.stop_signal}' is not used: a VM is stopped like a machine, "
            "without a signal to its program"
        )


def _head(tools: Tools, user: ExecUser) -> Iterator[str]:
    yield f"#!{tools.shell}\n"
    yield "# Runs the program of the container image as the image says. Written by bangerbuild.\n"
    yield f"PATH={PATH}\nuid={user.uid}\n"
    yield from tools.functions()
    yield _MOUNTS


def _start(program: ContainerProgram, env: Mapping[str, str], tools: Tools, user: ExecUser) -> Iterator[str]:
    """Yield the lines that go to the working directory and put the environment together."""
    place = shlex.quote(container_root.working_directory(program))
    yield f"cd {place} 2>/dev/null || {{ mkdir -p {place} && cd {place}; }} || exit\n"
    settings = (f"{name}={value}" for name, value in {"HOME": user.home, **env}.items())
    host = "" if "HOSTNAME" in env else ' "HOSTNAME=$host"'
    term = "" if "TERM" in env else ' "TERM=${TERM:-linux}"'
    yield f"set -- {tools.env()}{host}{term} {shlex.join(settings)}"


def _run(switch: str, command: tuple[str, ...]) -> Iterator[str]:
    yield f" \\\n    {shlex.join(command)}\n"
    if posixpath.basename(command[0]) in INITS:
        yield f'exec {switch}"$@"\n'
    else:
        yield _TAIL.replace("$switch", switch)


def _encoded(text: str, written: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = b"\0"
    if b"\0" in data:
        raise SourceError(f"'{written}' has a program or variables with characters that no program can get")
    return data
