"""A project with two VMs that VMMs start which are only scripts: they write down how they were started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests import PROJECT, forking
from tests.kernel.making import elf
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAMS = {
    "qemu": "qemu-system-x86_64",
    "cloud-hypervisor": "cloud-hypervisor",
    "firecracker": "firecracker",
}
RECORDER = """\
#!/bin/sh
pwd -P >run/argv
printf '%s\\n' "$@" >>run/argv
{ cat run/firecracker.json >run/config; } 2>/dev/null
"""
RUNS = "echo 'web login: '; exec sleep 3600"
MANIFEST = """\
[image.tiny]
kernel = "vmlinux"
rootfs = { directory = "tree", size = "16MiB" }

[defaults]
image = "tiny"
root.format = "raw"
guest = { network = false, sshd = false, identity = false }

[vm.web]
network = { address = "172.16.0.10/24", gateway = "172.16.0.1" }

[vm.db]
"""


@dataclass
class Project:
    """A directory with a manifest, and one with VMMs; what is started is ended at the end."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, top: Path, manifest: str = MANIFEST) -> Project:
        """A project whose QEMU runs; other VMMs are not installed."""
        directory = top / "project"
        (directory / "tree" / "etc").mkdir(parents=True)
        (directory / "tree" / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (directory / "vmlinux").write_bytes(elf())
        (directory / "vm.toml").write_text(manifest)
        (top / "bin").mkdir()
        (top / "cache").mkdir()
        project = cls(directory)
        project.environment = os.environ | {
            "PATH": f"{top / 'bin'}:{_without_vmms(top)}",
            "PYTHONPATH": str(PROJECT),
            "XDG_CACHE_HOME": str(top / "cache"),
            "HOME": str(top),
        }
        project.install("qemu", RUNS)
        return project

    def install(self, vmm: str, script: str, *, recorded: bool = True) -> None:
        """Have a VMM that writes down how it was started, and then is a script."""
        program = self.directory.parent / "bin" / PROGRAMS[vmm]
        program.write_text(f"{RECORDER if recorded else '#!/bin/sh'}\n{script}\n")
        program.chmod(0o755)

    def uninstall(self, vmm: str) -> None:
        """Have a VMM no more."""
        (self.directory.parent / "bin" / PROGRAMS[vmm]).unlink()

    def run(self, *arguments: str, typed: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """The command line in a process of its own."""
        environment = self.environment | variables
        return forking.run(arguments, cwd=self.directory, env=environment, typed=typed).as_text()

    def start(self, *arguments: str, **more: object) -> subprocess.Popen[str]:
        """The same, to be waited for."""
        command = [sys.executable, "-m", "bangerbuild", *arguments]
        given: dict[str, object] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            command, cwd=self.directory, env=self.environment, text=True, **(given | more)
        )
        return process

    def vm(self, name: str = "web") -> Path:
        """A VM's directory in the store."""
        return self.directory / "build" / "vms" / name

    def argv(self, name: str = "web") -> list[str]:
        """How its VMM was started."""
        return self.recorded(name)[1:]

    def recorded(self, name: str = "web") -> list[str]:
        """The directory in which it was started, and its arguments."""
        path = self.vm(name) / "run" / "argv"
        eventually(lambda: path.exists() and path.read_text())
        return path.read_text().splitlines()

    def value(self, option: str, name: str = "web") -> str:
        """The argument after an option that is there once."""
        argv = self.argv(name)
        assert argv.count(option) == 1, argv
        return argv[argv.index(option) + 1]

    def state(self, name: str = "web") -> Mapping[str, str]:
        """What the start wrote down."""
        text = (self.vm(name) / "run" / "state").read_text()
        return {word: value for word, _, value in (line.partition(" ") for line in text.splitlines())}

    def close(self) -> None:
        """End what runs."""
        if self.directory.exists():
            self.run("stop", "--all", "--kill")


def _without_vmms(top: Path) -> str:
    """Directories with the host's programs, but for VMMs."""
    hidden = top / "programs"
    hidden.mkdir()
    places = [*os.environ["PATH"].split(os.pathsep), "/usr/sbin", "/sbin"]
    for place in reversed([Path(place) for place in places if Path(place).is_dir()]):
        for program in place.iterdir():
            if program.name not in PROGRAMS.values() and not program.name.startswith("qemu-system"):
                (hidden / program.name).unlink(missing_ok=True)
                (hidden / program.name).symlink_to(program)
    assert shutil.which("sh", path=str(hidden))
    return str(hidden)
