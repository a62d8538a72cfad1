"""Starts a virtual machine under QEMU without KVM and reads what it reports on its second serial port."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIMEOUT_SECONDS = 900
"""Emulated on a slow machine that is busy with other tests, systemd takes minutes."""

CMDLINE = "console=ttyS0 panic=-1 quiet systemd.show_status=1 systemd.unit=multi-user.target"
SECTION = re.compile(r"^=== (.+)\n", re.MULTILINE)
END = "end of report"

PROBE = """\
#!/bin/sh
# Writes one section per question to the second serial port, then powers off.
exec >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo
"""

ASK = """\
ask() {
    printf '=== %s\\n' "$1"
    shift
    { "$@" || echo "exit status $?"; } 2>&1 | cat  # a pipe: to a terminal, find shows ? for what is not ASCII
    echo
}
"""

UNIT = """\
[Unit]
Description=Report what this guest looks like from inside
After=multi-user.target

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/boot-probe
"""


def interview(questions: Mapping[str, str]) -> str:
    """Lines of shell that answer each named question with a command's output; see `parse_report`."""
    asked = "".join(f"ask '{name}' {command}\n" for name, command in questions.items())
    return f"{ASK}{asked}echo '=== {END}'\n"


def probe_script(questions: Mapping[str, str], power_off: str = "systemctl poweroff --no-block") -> str:
    """The guest's script that answers the questions on the second serial port."""
    return f"{PROBE}{interview(questions)}{power_off}\n"


def write_probe_units(directory: Path) -> None:
    """A tree for /etc/systemd/system that starts the script at the end of the boot."""
    wanted = directory / "multi-user.target.wants"
    wanted.mkdir(parents=True)
    (directory / "boot-probe.service").write_text(UNIT)
    (wanted / "boot-probe.service").symlink_to("../boot-probe.service")


def parse_report(text: str) -> dict[str, str]:
    """Section name to section text, the empty line at its end taken off."""
    pieces = SECTION.split(text.replace("\r\n", "\n"))
    return {name: body.removesuffix("\n") for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def fail_with_console(what: str, console: Path) -> NoReturn:
    """Fail the test; the end of what the guest's kernel and init said goes with it."""
    text = console.read_text(errors="replace") if console.exists() else ""
    tail = "\n".join(text.splitlines()[-40:])
    pytest.fail(f"{what}\nThe end of its console:\n{tail}", pytrace=False)


@dataclass(frozen=True)
class Machine:
    """A VM's disks and network card, and where its consoles are written."""

    name: str
    kernel: Path
    initrd: Path
    base: Path
    store: Path
    mac: str
    directory: Path
    more: tuple[str, ...] = ()
    """Further arguments for QEMU."""

    @property
    def console(self) -> Path:
        """What the kernel and systemd say."""
        return self.directory / f"{self.name}.console"

    @property
    def report(self) -> Path:
        """What the probe says."""
        return self.directory / f"{self.name}.report"

    def argv(self) -> list[str]:
        """One core and no way out: the card has the right address and is connected to nothing."""
        return [
            need("qemu-system-x86_64", "qemu-system-x86"),
            *("-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "512", "-smp", "1"),
            *("-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(self.kernel), "-initrd", str(self.initrd), "-append", CMDLINE),
            *("-drive", f"file={self.base},format=raw,if=virtio,readonly=on"),
            *("-drive", f"file={self.store},format=raw,if=virtio"),
            *("-netdev", "user,id=lan,restrict=on"),
            *("-device", f"virtio-net-pci,netdev=lan,mac={self.mac},romfile="),
            *("-device", "virtio-rng-pci"),
            *("-serial", f"file:{self.console}", "-serial", f"file:{self.report}"),
            *self.more,
        ]

    def boot(self) -> dict[str, str]:
        """Run the machine until it powers itself off; its report.

        Fails the test with the end of the console where it never does, or reports nothing.
        """
        with subprocess.Popen(
            self.argv(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                said, _ = process.communicate(timeout=TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                self._fail(f"did not power off within {TIMEOUT_SECONDS} s")
        if process.returncode:
            self._fail(f"QEMU ended with {process.returncode}: {said}")
        report = parse_report(self.report.read_text(errors="replace"))
        if END not in report:
            self._fail(f"powered off without a whole report, only {sorted(report)}")
        return report

    def _fail(self, what: str) -> NoReturn:
        fail_with_console(f"{self.name} {what}", self.console)
