"""Which programs of a container image its script can use, and how it becomes another user with them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bangerbuild.sources.container_user import ExecUser
    from bangerbuild.sources.source import BuiltRoot

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What runtimes search where an image says nothing else."""
SHELL = "/bin/sh"
NEEDED = ("env", "mount", "mkdir", "ln", "chown", "sleep", "sync")
"""What the script calls."""
_SMALL = ("/bin/busybox", "/usr/bin/busybox", "/bin/toybox", "/usr/bin/toybox")
"""Programs that are many in one, whose `chroot` and `setpriv` change no user."""
_EXECUTABLE = 0o111


@dataclass(frozen=True)
class Tools:
    """The programs of an image."""

    root: BuiltRoot

    @cached_property
    def busybox(self) -> str | None:
        """Its busybox, which can do what another program is missing for."""
        return next((path for path in _SMALL[:2] if is_program(self.root, path)), None)

    @property
    def shell(self) -> str | None:
        """How a script begins that this image can run; None: there is no shell."""
        if is_program(self.root, SHELL):
            return SHELL
        return f"{self.busybox} sh" if self.busybox else None

    def missing(self) -> tuple[str, ...]:
        """What the script needs and the image lacks."""
        shell = () if self.shell else (SHELL,)
        return (*shell, *(name for name in NEEDED if not self.busybox and not self._find(name)))

    def functions(self) -> Iterator[str]:
        """Yield the shell functions that stand for missing programs."""
        for name in NEEDED:
            if self._find(name) is None:
                yield f'{name}() {{ {self.busybox} {name} "$@"; }}\n'

    def env(self) -> str:
        """The command line that begins another one's environment."""
        return f"{self._find('env') or f'{self.busybox} env'} -i"

    def switch(self, user: ExecUser) -> str | None:
        """The words before a command that make it run as a user; None: the image has nothing that could."""
        groups = ",".join(map(str, user.groups))
        if (user.uid, user.groups) == (0, (0,)):
            return ""
        if chroot := self._full("chroot"):
            return f"{chroot} --userspec={user.uid}:{user.gid} --groups={groups} --skip-chdir / "
        if setpriv := self._full("setpriv"):
            return f"{setpriv} --reuid={user.uid} --regid={user.gid} --groups={groups} "
        su = self._find("su") or (f"{self.busybox} su" if self.busybox else None)
        nsenter = self._find("nsenter")
        if user.groups == (user.gid,) and (nsenter or self.busybox):
            return f"{nsenter or f'{self.busybox} nsenter'} -S {user.uid} -G {user.gid} "
        if user.login and su and self.shell == SHELL:
            return f"{su} -s {SHELL} -c 'exec \"$@\"' -- {shlex.quote(user.login)} sh "
        return None

    def _full(self, name: str) -> str | None:
        """The path of a program that is more than a busybox's."""
        path = self._find(name)
        small = {stat.ino for one in _SMALL if (stat := self.root.stat(one))}
        found = self.root.stat(path) if path else None
        return path if found and found.ino not in small else None

    def _find(self, name: str) -> str | None:
        return find(self.root, name, PATH.split(":"))


def find(root: BuiltRoot, name: str, directories: Iterable[str]) -> str | None:
    """The path of a program in one of some directories."""
    paths = (f"{directory}/{name}" for directory in directories)
    return next((path for path in paths if is_program(root, path)), None)


def is_program(root: BuiltRoot, path: str) -> bool:
    """Whether a file is there that can be run."""
    found = root.stat(path)
    return found is not None and found.type is EntryType.FILE and bool(found.mode & _EXECUTABLE)


def require(tools: Tools, written: str) -> None:
    """Refuse an image that lacks what the script needs.

    Raises:
        SourceError: it does.
    """
    if missing := tools.missing():
        names = ", ".join(f"'{name}'" for name in missing)
        raise SourceError(
            f"'{written}' has no {names}, which the script at `entrypoint` needs",
            hint='put a static busybox into it: [[image.NAME.file_sync]] with host = "/bin/busybox" and '
            'guest = "/bin/busybox"; or leave `entrypoint` out, and name the program with init= in `cmdline`',
        )
