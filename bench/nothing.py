"""Nothing to do, for one VM and for a thousand: ours beside make, ninja and doit with the very same files.

Each VM has seven artifacts: a root with some files of its own, a work disk, and what starts it. The others
get a rule for each of them, with what it is made of; each is run once before, so that it knows them. What is
measured is the whole process, as a user starts it.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import SCRATCH, medians, print_table, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Rules = dict[str, list[str]]

ROUNDS = 11
SIZES = (1, 1000)
LIMITS: dict[int, dict[str, float]] = {1: {"python -c 'import click'": 1.5}, 1000: {"ninja": 4}}
TREE_FILES = 20
OURS = Path(sys.executable).with_name("bangerbuild")
LAUNCH = ("firecracker.json", "cloud-hypervisor.sh", "qemu.sh", "attach.sh", "detach.sh")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBmJQdNVdGsPVVYvTLVVUTDoDiVIcTjOGYUFDSkvAnwA me@host"
MANIFEST = f"""\
[defaults]
image = "base"
work = {{ size = "1GiB" }}
ssh_authorized_keys = ["{KEY}"]

[image.base]
rootfs = {{ directory = "root", size = "64MiB" }}
work_seed = {{ directory = "seed", size = "64MiB" }}
kernel = "vmlinux"
"""
VM = """
[vm.v{number}]
network = {{ address = "10.9.{high}.{low}/8", dns = ["10.0.0.53"] }}
[[vm.v{number}.file]]
guest = "/etc/app.conf"
content = "number = {number}\\n"
[[vm.v{number}.file_sync]]
host = "tree"
guest = "/opt/tree"
"""
DOIT = """\
import json, pathlib
DOIT_CONFIG = {"check_file_uptodate": "timestamp", "verbosity": 0}
def task_artifact():
    for target, inputs in json.loads(pathlib.Path("rules.json").read_text()).items():
        yield {"name": target, "actions": [lambda: True], "file_dep": inputs, "targets": [target]}
"""


def main() -> None:
    """Print a table for each number of VMs."""
    for vms in SIZES:
        shutil.rmtree(SCRATCH, ignore_errors=True)
        SCRATCH.mkdir(parents=True)
        write_project(SCRATCH, vms)
        measure(SCRATCH, vms)
    shutil.rmtree(SCRATCH)


def measure(directory: Path, vms: int) -> None:
    """Build, and let every side find out that there is nothing to do."""
    print(f"\nbuilding {vms} VMs", file=sys.stderr)
    timed([OURS, "apply", "-q"], directory)
    write_rules(directory, rules(directory, vms))
    commands: dict[str, list[str | Path]] = {
        "bangerbuild apply": [OURS, "apply"],
        "ninja": ["ninja", "--quiet"],
        "make": ["make", "--silent"],
        "doit": [sys.executable, "-m", "doit", "--dir", ".", "-v0"],
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "bangerbuild plan": [OURS, "plan"],
    }
    for command in commands.values():
        timed(command, directory)
    assert_nothing_to_do(directory)
    sides: dict[str, Callable[[], float]] = {
        name: partial(seconds, command, directory) for name, command in commands.items()
    }
    title = f"Nothing to do, {vms} VM{'s' * (vms > 1)} with {2 + len(LAUNCH)} artifacts each"
    taken = medians(sides, ROUNDS)
    print_table(title, taken, unit="ms", scale=1000)
    for name, most in LIMITS[vms].items():
        ratio = taken["bangerbuild apply"] / taken[name]
        print(f"  bangerbuild apply / {name}: {ratio:.2f} (at most {most} is wanted)")


def seconds(command: Sequence[str | Path], directory: Path) -> float:
    """What one run takes."""
    return timed(command, directory).seconds


WORDS = {(str(OURS), "apply"): " kept in ", ("ninja",): "no work to do", ("make",): "Nothing to be done"}
"""What a command says where there is nothing to do."""


def assert_says_so(command: tuple[str, ...], directory: Path) -> None:
    """A command says that there is nothing to do."""
    done = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    assert WORDS[command] in done.stdout, done.stdout


def assert_nothing_to_do(directory: Path) -> None:
    """Every side says so, in its own words."""
    for command in WORDS:
        assert_says_so(command, directory)
    doit = [sys.executable, "-m", "doit", "--dir", "."]
    done = subprocess.run(doit, cwd=directory, check=True, capture_output=True, text=True)
    assert all(line.startswith("-- ") for line in done.stdout.splitlines()), done.stdout


def write_project(directory: Path, vms: int) -> None:
    """A manifest, and what it names."""
    for name in ("root/etc", "root/usr/bin", "seed", "tree"):
        (directory / name).mkdir(parents=True)
    (directory / "root/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (directory / "seed/.profile").write_text("export LANG=C.UTF-8\n")
    for number in range(TREE_FILES):
        (directory / f"tree/file{number:02}").write_text(f"{number}\n" * 100)
    (directory / "vmlinux").write_bytes(kernel())
    numbered = (VM.format(number=number, high=number // 250, low=number % 250 + 1) for number in range(vms))
    (directory / "vm.toml").write_text(MANIFEST + "".join(numbered))


def kernel() -> bytes:
    """As little as passes for an uncompressed kernel: an ELF header, one segment, a banner."""
    banner = b"Linux version 6.1.0 (build@host) (gcc) #1 SMP\n\0"
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    address = 0xFFFFFFFF81000000
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x1000000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 120, address, 0x1000000, len(banner), len(banner), 8)
    return ident + header + load + banner


def rules(directory: Path, vms: int) -> Rules:
    """Every artifact, and what it is made of."""

    def image(name: str) -> str:
        return str(next(directory.glob(f"build/images/base/*/{name}")).relative_to(directory))

    tree = [f"tree/file{number:02}" for number in range(TREE_FILES)]
    rootfs, seed, vmlinux = image("rootfs.ext4"), image("work-seed@1GiB.ext4"), image("vmlinux")
    made: Rules = {}
    for number in range(vms):
        vm = f"build/vms/v{number}"
        made[f"{vm}/root.cow"] = ["vm.toml", rootfs, *tree]
        made[f"{vm}/work.ext4"] = ["vm.toml", seed]
        made |= {f"{vm}/{name}": ["vm.toml", vmlinux] for name in LAUNCH}
    return made


def write_rules(directory: Path, made: Rules) -> None:
    """The same rules for each of the others."""
    (directory / "build.ninja").write_text("".join(ninja_lines(made)))
    (directory / "Makefile").write_text("".join(make_lines(made)))
    (directory / "dodo.py").write_text(DOIT)
    (directory / "rules.json").write_text(json.dumps(made))


def ninja_lines(made: Rules) -> Iterator[str]:
    """What does nothing is enough to have the artifacts in ninja's log: they are newer than their inputs."""
    yield "rule made\n  command = true\n"
    for target, inputs in made.items():
        yield f"build {target}: made {' '.join(inputs)}\n"


def make_lines(made: Rules) -> Iterator[str]:
    """An implicit rule is looked for nowhere: that would only cost make time."""
    yield f"MAKEFLAGS += -rR\nall: {' '.join(made)}\n"
    for target, inputs in made.items():
        yield f"{target}: {' '.join(inputs)}\n\t@false\n"


if __name__ == "__main__":
    main()
