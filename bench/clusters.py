"""Sizes of qcow2 clusters: what a patched root takes, what a login adds, and how fast its guest writes.

One Debian VM is built with the clusters that new roots have. qemu-img writes the same root with other sizes.
Each is started twice under QEMU without KVM: up to a login, and with a program in place of init, which
overwrites a file of the image at random, 4 KiB each time, and writes a new file from beginning to end.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from bench.measure import BANGERBUILD, SCRATCH, allocated_kib, print_table, timed
from bench.vms import KEY
from tests.boot.debian import BOOTABLE, tarball

if TYPE_CHECKING:
    from pathlib import Path

OVERWRITTEN_MIB = 128
WRITES = 3000
APPENDED_MIB = 64
PATIENCE_SECONDS = 900
SIZES = {
    "64 KiB": "cluster_size=64k",
    "64 KiB, extended L2": "cluster_size=64k,extended_l2=on",
    "16 KiB": "cluster_size=16k",
    "8 KiB": "cluster_size=8k",
    "4 KiB": "cluster_size=4k",
}
"""The first is what the others are compared with: what QEMU makes if nobody says anything."""
MANIFEST = """\
[image.base]
kernel = {{ guest = "/boot/vmlinuz-*" }}
initrd = {{ guest = "/boot/initrd.img-*" }}
[image.base.rootfs]
tar = "{tar}"
size = "2GiB"
[[image.base.file_sync]]
host = "large"
guest = "/var/tmp/large"
[vm.web]
image = "base"
root.format = "qcow2"
ssh_authorized_keys = ["{key}"]
network = {{ address = "10.0.1.2/24", dns = ["10.0.1.1"] }}
[[vm.web.file]]
guest = "/usr/local/sbin/measure"
mode = "0755"
content = '''
{script}'''
"""
SCRIPT = f"""\
#!/usr/bin/perl
use Fcntl; use Time::HiRes 'time'; use IO::Handle;
open CONSOLE, '>', '/dev/ttyS0'; CONSOLE->autoflush(1); srand 1;
sysopen LARGE, '/var/tmp/large', O_RDWR or die;
my $data = 'x' x 4096; my $begun = time;
for (1..{WRITES}) {{
  sysseek LARGE, 4096 * int(rand {OVERWRITTEN_MIB * 256}), 0;
  syswrite LARGE, $data or die;
}}
IO::Handle->new_from_fd(fileno LARGE, 'w')->sync;
printf CONSOLE "overwrites=%f\\n", {WRITES} / (time - $begun);
open NEW, '>', '/var/tmp/new' or die; $data = 'y' x 1048576; $begun = time;
for (1..{APPENDED_MIB}) {{ syswrite NEW, $data or die; }}
NEW->sync; printf CONSOLE "appended=%f\\n", {APPENDED_MIB} / (time - $begun);
close NEW; system 'sync'; print CONSOLE "measured\\n"; sleep 10000;
"""
"""The guest's init: what it measures goes to the console."""


def main() -> None:
    """Print a table of each figure."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    (SCRATCH / "large").write_bytes(random.Random(1).randbytes(OVERWRITTEN_MIB << 20))  # noqa: S311  # no secret
    (SCRATCH / "vm.toml").write_text(MANIFEST.format(tar=tarball(BOOTABLE), key=KEY, script=SCRIPT))
    timed([*BANGERBUILD, "apply", "-q"])
    figures: dict[str, dict[str, float]] = {}
    for name, options in SIZES.items():
        for figure, value in measured(options).items():
            print(f"{name}: {figure} {value:.1f}", flush=True)
            figures.setdefault(figure, {})[name] = value
    for figure, rows in figures.items():
        print_table(figure, rows, unit="")
    shutil.rmtree(SCRATCH)


def measured(options: str) -> dict[str, float]:
    """The figures of a root with these clusters."""
    vm = SCRATCH / "build/vms/web"
    found = {}
    converted(vm, options)
    found["Patched, KiB on disk"] = allocated_kib(vm / "test.qcow2")
    found["Seconds to a login"] = started(vm, until="login:")[0]
    found["After that, KiB on disk"] = allocated_kib(vm / "test.qcow2")
    converted(vm, options)
    _, said = started(vm, until="measured", init="/usr/local/sbin/measure")
    numbers = dict(word.split("=") for word in said.split() if word.startswith(("overwrites=", "appended=")))
    found["Random overwrites of 4 KiB in the guest, per second"] = float(numbers["overwrites"])
    found["A new file written in the guest, MiB per second"] = float(numbers["appended"])
    found["After both, MiB on disk"] = allocated_kib(vm / "test.qcow2") / 1024
    return found


def converted(vm: Path, options: str) -> None:
    """Write the VM's root once more, with other clusters."""
    base = os.path.relpath(next(SCRATCH.glob("build/images/base/*/rootfs.ext4")), vm)
    command = ["qemu-img", "convert", "-O", "qcow2", "-F", "raw", "-B", base, "-o", options]
    timed([*command, "root.qcow2", "test.qcow2"], cwd=vm)


def started(vm: Path, *, until: str, init: str = "/sbin/init") -> tuple[float, str]:
    """Start the VM, and end it once its console says a word; the seconds until then, and all it said."""
    images = SCRATCH / "build/images/base"
    kernel, initrd = (next(images.glob(f"*/{name}")) for name in ("vmlinuz", "initrd.img"))
    command = [
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "512",
        "-nodefaults",
        "-display",
        "none",
    ]
    command += ["-kernel", str(kernel), "-initrd", str(initrd), "-serial", "stdio", "-no-reboot"]
    command += ["-append", f"console=ttyS0 root=/dev/vda rw panic=1 init={init}"]
    command += ["-drive", "file=test.qcow2,format=qcow2,if=virtio"]
    with tempfile.TemporaryFile() as console:
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=vm, stdout=console, stderr=console, stdin=subprocess.DEVNULL)
        said = ""
        while until not in said:
            if process.poll() is not None or time.monotonic() - begun > PATIENCE_SECONDS:
                process.kill()
                raise SystemExit(f"{said[-2000:]}\nthe guest never said '{until}'")
            time.sleep(0.05)
            console.seek(0)
            said = console.read().decode(errors="replace")
        seconds = time.monotonic() - begun
        process.terminate()  # QEMU writes what it holds
        process.wait()
    return seconds, said


if __name__ == "__main__":
    main()
