"""A fleet beside the same VMs written out: what a manifest of templates and leases costs more, or less.

Both sides have the same VMs, with the same addresses and files: the fleet's are leased and rendered. `apply`
makes all of them anew over an image that is there. Nothing to do is then found for a fleet of 1000 VMs with
seven artifacts each, as in `bench.nothing`, beside the same VMs written out, and ninja. What is compared is
the processor time of whole processes, and of what they start.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from bench import nothing
from bench.measure import BANGERBUILD, SCRATCH, medians, print_table, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

ROUNDS = 3
VMS = 10_000
WANTED = 1.1
MEMBERS = 1000
"""Of the fleet that is compared with ninja."""
NOTHING_ROUNDS = 11
OF_NINJA = 1.5
HEAD = """\
[image.ci]
rootfs = { directory = "../tree", size = "16MiB" }
[network.lan]
subnet = "10.0.0.0/16"
[defaults]
image = "ci"
network.name = "lan"
guest = { network = false, sshd = false }
"""
FLEET = """\
[fleet.r]
names = "r-{{00001..{count:05}}}"
[fleet.r.vm]
hostname = "{{{{ name }}}}.lab"
[[fleet.r.vm.file]]
guest = "/etc/runner"
template = true
content = "{{{{ index }}}} {{{{ address }}}}"
"""
VM = """\
[vm.r-{index:05}]
hostname = "r-{index:05}.lab"
network.address = "{address}"
[[vm.r-{index:05}.file]]
guest = "/etc/runner"
content = "{index} {address}"
"""
NOTHING_FLEET = """\
[network.lan]
subnet = "10.9.0.0/16"
dns = ["10.0.0.53"]
[fleet.v]
names = "v{{0..{last}}}"
[fleet.v.vm]
network.name = "lan"
[[fleet.v.vm.file]]
guest = "/etc/app.conf"
template = true
content = "number = {{{{ index }}}}\\n"
[[fleet.v.vm.file_sync]]
host = "tree"
guest = "/opt/tree"
"""
FIRST = IPv4Address("10.0.0.1")
"""The gateway; the VMs follow."""


def main() -> None:
    """Print a table for each command."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else VMS
    shutil.rmtree(SCRATCH, ignore_errors=True)
    (SCRATCH / "tree/etc").mkdir(parents=True)
    (SCRATCH / "tree/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    write("written out", "".join(VM.format(index=i, address=FIRST + i) for i in range(1, count + 1)))
    write("a fleet", FLEET.format(count=count))
    runs: dict[str, Callable[[Path], float]] = {
        "validate": partial(run, ["validate"]),
        "plan": partial(run, ["plan"]),
        "apply": applied,
        "nothing to do": partial(run, ["apply"]),
    }
    for name, side in runs.items():
        sides: dict[str, Callable[[], float]] = {
            which: partial(side, SCRATCH / which) for which in ("written out", "a fleet")
        }
        taken = medians(sides, ROUNDS)
        print_table(f"{name}, {count} VMs", taken)
        print(f"  a fleet / written out: {taken['a fleet'] / taken['written out']:.2f} ({WANTED} is wanted)")
    shutil.rmtree(SCRATCH)
    beside_ninja()


def beside_ninja() -> None:
    """Print a table for nothing to do of a fleet."""
    projects = {which: SCRATCH / which for which in ("a fleet", "written out")}
    for project in projects.values():
        project.mkdir(parents=True)
        nothing.write_project(project, MEMBERS)
    (projects["a fleet"] / "vm.toml").write_text(nothing.MANIFEST + NOTHING_FLEET.format(last=MEMBERS - 1))
    sides: dict[str, Callable[[], float]] = {}
    for which, project in projects.items():
        timed([nothing.OURS, "apply", "-q"], project)
        sides[which] = partial(spent, [nothing.OURS, "apply"], project)
    fleet = projects["a fleet"]
    nothing.write_rules(fleet, nothing.rules(fleet, MEMBERS))
    sides["ninja"] = partial(spent, ["ninja", "--quiet"], fleet)
    for side in sides.values():
        side()  # ninja's first run fills its log
    for command in ((str(nothing.OURS), "apply"), ("ninja",)):
        nothing.assert_says_so(command, fleet)
    taken = medians(sides, NOTHING_ROUNDS)
    print_table(f"nothing to do, {MEMBERS} VMs with 7 artifacts each", taken, unit="ms", scale=1000)
    print(f"  a fleet / ninja: {taken['a fleet'] / taken['ninja']:.2f} ({OF_NINJA} is wanted)")
    shutil.rmtree(SCRATCH)


def write(name: str, vms: str) -> None:
    """A project of its own."""
    (SCRATCH / name).mkdir()
    (SCRATCH / name / "vm.toml").write_text(HEAD + vms)


def run(words: Sequence[str], directory: Path) -> float:
    """Processor seconds of one run."""
    return spent([*BANGERBUILD, *words], directory)


def spent(command: Sequence[str | Path], directory: Path) -> float:
    """Processor seconds of a process and of what it starts."""
    return timed(command, directory).cpu_seconds


def applied(directory: Path) -> float:
    """What making all VMs takes."""
    run(["apply", "-q", "--target", "image.ci"], directory)
    shutil.rmtree(directory / "build/vms", ignore_errors=True)
    subprocess.run(["/bin/sync", "--file-system", SCRATCH], check=True)
    return run(["apply", "-q"], directory)


if __name__ == "__main__":
    main()
