"""What `boot` costs: until the VMM is executed with nothing to build, and until sshd answers.

For the first the VMM is a script that notes the time, started by `boot` and by its bare command line in turn.
For the second the same guest, a Debian without KVM, is started by `boot -d --wait` and by the command line
that a user would write, in turn.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import time
from functools import partial
from typing import TYPE_CHECKING

from bangerbuild.running import readiness
from bench.measure import INSTALLED, SCRATCH, medians, print_table, timed
from bench.nothing import KEY, OURS, kernel
from tests.boot.debian import BOOTABLE, tarball

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUNDS = 11
BOOT_ROUNDS = 3
MOST_MS = 100
FAKE = "#!/bin/bash\necho $EPOCHREALTIME >at\nexec sleep 3600\n"
TINY = """\
[image.tiny]
kernel = "vmlinux"
rootfs = {{ directory = "tree", size = "16MiB" }}
[vm.web]
image = "tiny"
root.format = "qcow2"
work.size = "64MiB"
network = {{ address = "172.16.0.10/24", gateway = "172.16.0.1" }}
ssh_authorized_keys = ["{key}"]
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
"""
DEBIAN = """\
[image.bookworm]
kernel = { guest = "/boot/vmlinuz-*" }
initrd = { guest = "/boot/initrd.img-*" }
rootfs.tar = "bookworm.tar"
[vm.web]
image = "bookworm"
memory = "512MiB"
root.format = "qcow2"
network = { address = "172.16.0.10/24", gateway = "172.16.0.1" }
"""
NETWORK = ",net=172.16.0.0/24,host=172.16.0.1,dns=172.16.0.2,dhcpstart=172.16.0.10"
BOOT: list[str | Path] = [OURS, "boot", "web", "-d", "-q", "--net", "user"]


def main() -> None:
    """Print both tables."""
    fresh()
    until_executed(SCRATCH)
    fresh()
    until_ssh(SCRATCH)
    shutil.rmtree(SCRATCH)


def fresh() -> None:
    """Have an empty directory."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)


def until_executed(directory: Path) -> None:
    """From the start of the process to the start of the VMM."""
    (directory / "tree/etc").mkdir(parents=True)
    (directory / "tree/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (directory / "vmlinux").write_bytes(kernel())
    (directory / "vm.toml").write_text(TINY.format(key=KEY))
    (directory / "bin").mkdir()
    fake = directory / "bin" / "qemu-system-x86_64"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    environment = INSTALLED | {"PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "LC_ALL": "C"}
    until_recorded(directory, environment)
    disks = [directory / "build/vms/web" / name for name in ("root.qcow2", "work.ext4")]
    left, written = [disk.stat().st_mtime_ns for disk in disks], [time.time_ns()] * len(disks)
    start = partial(executed, directory, environment)
    sides: dict[str, Callable[[], float]] = {
        "bangerbuild boot": partial(start, dict(zip(disks, left, strict=True))),
        "the same, after its guest wrote": partial(start, dict(zip(disks, written, strict=True))),
        "the bare command line of the VMM": partial(executed_bare, fake, directory, environment),
    }
    rows = medians(sides, ROUNDS)
    print_table("Until the VMM is executed", rows, unit="ms", scale=1000)
    bare = rows["the bare command line of the VMM"]
    for name, seconds in rows.items():
        print(f"  {name}: {(seconds - bare) * 1000:.0f} ms are added")
    print(f"  at most {MOST_MS} ms are wanted")


def executed(directory: Path, environment: dict[str, str], times_ns: dict[Path, int]) -> float:
    """From the start of ours to that of the VMM; the disks have these times, another if a guest wrote."""
    for disk, time_ns in times_ns.items():
        os.utime(disk, ns=(time_ns, time_ns))
    at = directory / "build/vms/web/at"
    at.unlink(missing_ok=True)
    begun = time.time()
    subprocess.run(BOOT, cwd=directory, env=environment, check=True, stderr=subprocess.DEVNULL)
    seconds = float(at.read_text()) - begun
    stop(directory)
    return seconds


def executed_bare(program: Path, directory: Path, environment: dict[str, str]) -> float:
    """The same of the VMM by itself."""
    vm = directory / "build/vms/web"
    at = vm / "at"
    at.unlink(missing_ok=True)
    begun = time.time()
    with subprocess.Popen([program], cwd=vm, env=environment, stdin=subprocess.DEVNULL) as process:
        while not at.exists() or not at.read_text():
            time.sleep(0.001)
        seconds = float(at.read_text()) - begun
        process.kill()
    return seconds


def until_recorded(directory: Path, environment: dict[str, str]) -> None:
    """Build; a second time, as an apply that has to build as soon as a file was written makes no record."""
    for _ in range(2):
        subprocess.run([OURS, "apply", "-q"], cwd=directory, env=environment, check=True)
    subprocess.run([OURS, "doctor"], cwd=directory, env=environment, check=False, stdout=subprocess.DEVNULL)


def stop(directory: Path) -> None:
    """Kill the VM."""
    command: list[str | Path] = [OURS, "stop", "web", "--kill"]
    subprocess.run(command, cwd=directory, env=INSTALLED, check=True, stdout=subprocess.DEVNULL)


def until_ssh(directory: Path) -> None:
    """From the start of the process to the banner of the guest's sshd."""
    (directory / "bookworm.tar").symlink_to(tarball(BOOTABLE))
    (directory / "vm.toml").write_text(DEBIAN)
    timed([OURS, "apply", "-q"], directory)
    sides: dict[str, Callable[[], float]] = {
        "bangerbuild boot -d --wait": partial(ours, directory),
        "QEMU by hand": partial(by_hand, directory),
    }
    for side in sides.values():
        side()  # the guest makes its host keys once
    rows = medians(sides, BOOT_ROUNDS)
    print_table("Until sshd answers, a Debian without KVM", rows)
    mine, by_qemu = rows.values()
    print(f"  {mine / by_qemu:.2f} times as long as QEMU by hand, in rounds side by side")


def ours(directory: Path) -> float:
    """Started by one command."""
    command: list[str | Path] = [*BOOT, "--wait=300", "--", "-machine", "accel=tcg"]
    seconds = timed(command, directory).seconds
    stop(directory)
    return seconds


def by_hand(directory: Path) -> float:
    """Started by the command line of qemu.sh, without any of ours."""
    vm = directory / "build/vms/web"
    text = (vm / "qemu.sh").read_text().partition("exec ")[2].replace("\\\n", " ").replace('"$@"', "")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    network = [
        "-netdev",
        f"user,id=n{NETWORK},hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device",
        "virtio-net-pci,netdev=n,mac=06:00:ac:10:00:0a",
    ]
    command = [*shlex.split(text), *network, "-machine", "accel=tcg"]
    begun = time.perf_counter()
    with subprocess.Popen(command, cwd=vm, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while not readiness.answers("127.0.0.1", port):
            time.sleep(readiness.POLL_SECONDS)
        seconds = time.perf_counter() - begun
        process.kill()
    return seconds


if __name__ == "__main__":
    main()
