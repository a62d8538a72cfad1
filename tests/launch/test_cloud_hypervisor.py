"""Against cloud-hypervisor's own parsers, vmm/src/config.rs and cloud-hypervisor/src/main.rs.

The table below says what version 53 takes of the options that we write, and with which values; any other key
of them is an error there. `image_type` and `backing_files` came with 51.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.formats import FORMATS
from bangerbuild.launch import cloud_hypervisor
from bangerbuild.launch.machine import Machine
from bangerbuild.launch.session import Session
from tests.launch.running import Directory
from tests.launch.samples import IMAGE, PLAIN, PLAIN_BOOT, WEB, WEB_BOOT

if TYPE_CHECKING:
    from pathlib import Path

QCOW2 = Machine("thin", FORMATS["qcow2"].attachment("root.qcow2", f"{IMAGE}/cc/rootfs.ext4"), (), WEB_BOOT)
SWITCH = "on|off"
FILE = "[^,]+"
PARAMETERS = {
    "--cpus": {"boot": "[1-9][0-9]*", "max": "[1-9][0-9]*"},
    "--memory": {"size": "[1-9][0-9]*[KMG]?", "shared": SWITCH, "hugepages": SWITCH},
    "--disk": {
        "path": FILE,
        "readonly": SWITCH,
        "direct": SWITCH,
        "backing_files": SWITCH,
        "sparse": SWITCH,
        "image_type": "raw|qcow2|vhd|vhdx",
        "serial": FILE,
        "id": FILE,
    },
    "--net": {"tap": "[^,]{1,15}", "mac": "([0-9a-f]{2}:){5}[0-9a-f]{2}", "id": FILE},
}
"""Options whose values are keys with values: each key, and what may stand behind it."""
PLAIN_OPTIONS = {
    "--kernel": FILE,
    "--initramfs": FILE,
    "--cmdline": ".+",
    "--serial": "tty|null|off",
    "--console": "off",
}
ONCE = (PARAMETERS.keys() | PLAIN_OPTIONS.keys()) - {"--disk", "--net"}
"""Options that take one value."""

WEB_SCRIPT = """\
#!/bin/sh
# Starts the VM web under cloud-hypervisor. The serial console is on this terminal.
# Arguments are passed on to cloud-hypervisor; paths among them are relative to this directory.
set -eu
cd -P -- "$(dirname -- "$(readlink -f -- "$0")")"

for left in *.redo *.grow; do
    if [ -e "$left" ]; then
        echo "${0##*/}: a change of ${left%.*} was interrupted: run bangerbuild apply first" >&2
        exit 1
    fi
done

if ! [ -e root.dev ]; then
    echo "${0##*/}: there is no root.dev: run attach.sh first, as root" >&2
    exit 1
fi

exec cloud-hypervisor \\
    --cpus boot=2 \\
    --memory size=1024M \\
    --kernel ../../images/bookworm/aa/vmlinux \\
    --initramfs ../../images/bookworm/bb/initrd.img \\
    --cmdline 'console=ttyS0 reboot=k panic=1 root=/dev/vda rw' \\
    --disk path=root.dev,image_type=raw path=work.ext4,image_type=raw path=my-data.ext4,image_type=raw \\
    --net tap=tap-web,mac=06:00:ac:10:00:0a \\
    --serial tty \\
    --console off \\
    "$@"
"""


def test_a_vm_with_everything_has_every_option() -> None:
    assert cloud_hypervisor.script(WEB, WEB_BOOT) == WEB_SCRIPT


def test_a_vm_with_the_least_has_neither_initrd_nor_network_card(tmp_path: Path) -> None:
    store = Directory.make(tmp_path)
    script = store.write("cloud-hypervisor.sh", cloud_hypervisor.script(PLAIN, PLAIN_BOOT))
    started = store.run(script, program="cloud-hypervisor", cwd=tmp_path)
    assert started.code == 0
    assert started.argv == (
        *("--cpus", "boot=1", "--memory", "size=512M"),
        *("--kernel", "../../images/bookworm/aa/vmlinux", "--cmdline", "quiet root=/dev/vda rw"),
        *("--disk", "path=root.ext4,image_type=raw", "--serial", "tty", "--console", "off"),
    )


def test_a_disk_that_is_changed_by_half_is_not_started(tmp_path: Path) -> None:
    store = Directory.make(tmp_path)
    script = store.write("cloud-hypervisor.sh", cloud_hypervisor.script(PLAIN, PLAIN_BOOT))
    store.write("work.ext4.redo", "")
    started = store.run(script, program="cloud-hypervisor", cwd=tmp_path)
    assert (started.code, started.argv) == (1, ())
    assert "a change of work.ext4 was interrupted: run bangerbuild apply first" in started.stderr


def test_it_starts_in_the_vms_directory_with_the_arguments_it_was_given(tmp_path: Path) -> None:
    store = Directory.make(tmp_path)
    store.write("cloud-hypervisor.sh", cloud_hypervisor.script(WEB, WEB_BOOT))
    link = tmp_path / "start"
    link.symlink_to(store.path / "cloud-hypervisor.sh")
    started = store.run(link, "--log-file", "two words", program="cloud-hypervisor", cwd=tmp_path)
    assert started.directory == str(store.path)
    assert started.argv[-2:] == ("--log-file", "two words")


def test_a_snapshot_root_that_is_not_attached_is_said_so(tmp_path: Path) -> None:
    store = Directory.make(tmp_path)
    (store.path / "root.dev").unlink()
    script = store.write("cloud-hypervisor.sh", cloud_hypervisor.script(WEB, WEB_BOOT))
    started = store.run(script, program="cloud-hypervisor", cwd=tmp_path)
    assert (started.code, started.argv) == (1, ())
    assert started.stderr == "cloud-hypervisor.sh: there is no root.dev: run attach.sh first, as root\n"


def test_boot_starts_the_machine_of_the_script(tmp_path: Path) -> None:
    """Options as version 53 parses them (cloud-hypervisor/src/main.rs, vmm/src/config.rs)."""
    store = Directory.make(tmp_path)
    script = store.write("cloud-hypervisor.sh", cloud_hypervisor.script(WEB, WEB_BOOT))
    by_script = store.run(script, program="cloud-hypervisor", cwd=tmp_path).argv
    session = Session(kvm=True, network="tap")
    by_boot = [word for option in cloud_hypervisor.arguments(WEB, WEB_BOOT, session) for word in option]
    assert set(by_script) - set(by_boot) == {"tty"}
    assert set(by_boot) - set(by_script) == {"file=run/console.log", "--api-socket", "path=run/api.sock"}


def test_on_a_terminal_the_console_is_that_terminal() -> None:
    session = Session(kvm=True, network="none", attached=True)
    assert ("--serial", "tty") in list(cloud_hypervisor.arguments(WEB, WEB_BOOT, session))


def options_of(machine: Machine) -> dict[str, list[str]]:
    """The options of a script with their values; one that is given twice is an error."""
    assert machine.boot is not None
    _, _, command = cloud_hypervisor.script(machine, machine.boot).partition("exec cloud-hypervisor")
    found: dict[str, list[str]] = {}
    for word in shlex.split(command.replace("\\\n", " "))[:-1]:
        if word.startswith("--"):
            assert word not in found
            found[word] = []
        else:
            found[list(found)[-1]].append(word)
    return found


@pytest.mark.parametrize("machine", [WEB, PLAIN, QCOW2], ids=lambda machine: machine.name)
def test_every_option_is_one_that_cloud_hypervisor_takes(machine: Machine) -> None:
    for option, values in options_of(machine).items():
        assert len(values) == 1 or option not in ONCE
        for value in values:
            if option in PLAIN_OPTIONS:
                assert re.fullmatch(PLAIN_OPTIONS[option], value), (option, value)
                continue
            for parameter in value.split(","):
                key, _, said = parameter.partition("=")
                assert re.fullmatch(PARAMETERS[option][key], said), (option, parameter)


def test_a_qcow2_root_may_open_its_image() -> None:
    assert options_of(QCOW2)["--disk"] == ["path=root.qcow2,image_type=qcow2,backing_files=on"]
