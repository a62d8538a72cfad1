from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.launch import qemu
from bangerbuild.launch.machine import Card
from bangerbuild.launch.session import FREE_PORT, Session
from tests.launch.running import Directory
from tests.launch.samples import PLAIN, PLAIN_BOOT, WEB, WEB_BOOT
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.launch.running import Started

WEB_SCRIPT = """\
#!/bin/sh
# Starts the VM web under QEMU, with KVM where it can be used. The serial console is on this terminal:
# Ctrl-A X ends QEMU. Arguments are passed on to it, such as -machine accel=tcg, to do without KVM; paths
# among them are relative to this directory.
#
# BANGERBUILD_NET chooses the network:
#   tap    the tap device tap-web (default)
#   user   QEMU's own, which needs no device on the host; options of -netdev user may follow, such as
#          user,hostfwd=tcp:127.0.0.1:2222-:22
#   none   no network card
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

net=${BANGERBUILD_NET:-tap}
case $net in
tap)
    if ! [ -e /sys/class/net/tap-web ]; then
        echo "qemu.sh: there is no tap device tap-web; BANGERBUILD_NET=user does without" >&2
    fi
    set -- -netdev tap,id=net0,ifname=tap-web,script=no,downscript=no "$@"
    ;;
user | user,*)
    set -- -netdev user,id=net0,net=172.16.0.0/24,host=172.16.0.1,dns=172.16.0.2,dhcpstart=172.16.0.10"${net#user}" "$@"
    ;;
none) ;;
*)
    echo "qemu.sh: BANGERBUILD_NET is '$net', and not one of tap, user and none" >&2
    exit 3
    ;;
esac
if [ "$net" != none ]; then
    set -- -device virtio-net-pci,netdev=net0,mac=06:00:ac:10:00:0a,romfile= "$@"
fi

exec qemu-system-x86_64 \\
    -name web \\
    -machine q35,accel=kvm:tcg \\
    -cpu max \\
    -smp 2 \\
    -m 1024M \\
    -nodefaults -no-reboot -display none -serial mon:stdio \\
    -device virtio-rng-pci \\
    -kernel ../../images/bookworm/aa/vmlinuz \\
    -initrd ../../images/bookworm/bb/initrd.img \\
    -append 'console=ttyS0 reboot=k panic=1 root=/dev/vda rw' \\
    -drive file=root.dev,format=raw,if=virtio \\
    -drive file=work.ext4,format=raw,if=virtio \\
    -drive file=my-data.ext4,format=raw,if=virtio \\
    "$@"
"""  # noqa: E501  # a line of the script

CARD = "virtio-net-pci,netdev=net0,mac=06:00:ac:10:00:0a,romfile="


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    directory = Directory.make(tmp_path)
    directory.write("qemu.sh", qemu.script(WEB, WEB_BOOT))
    return directory


def run(store: Directory, *arguments: str, **variables: str) -> Started:
    """From a directory that is not the VM's."""
    script = store.path / "qemu.sh"
    return store.run(script, *arguments, program="qemu-system-x86_64", cwd=store.bin, **variables)


def test_a_vm_with_everything_has_every_option() -> None:
    assert qemu.script(WEB, WEB_BOOT) == WEB_SCRIPT


def test_it_starts_in_the_vms_directory_from_anywhere(store: Directory) -> None:
    assert run(store).directory == str(store.path)


def test_it_starts_in_the_vms_directory_through_relative_symlinks(store: Directory, tmp_path: Path) -> None:
    (tmp_path / "first").symlink_to("a store's $HOME/vms/web/qemu.sh")
    (store.bin / "second").symlink_to("../first")
    started = store.run(store.bin / "second", program="qemu-system-x86_64", cwd=tmp_path)
    assert started.directory == str(store.path)


def test_arguments_come_last_and_unchanged(store: Directory) -> None:
    started = run(store, "-monitor", "unix:a 'socket' of $mine,server=on", "")
    assert started.argv[-3:] == ("-monitor", "unix:a 'socket' of $mine,server=on", "")


def test_kvm_is_preferred_and_tcg_will_do(store: Directory) -> None:
    assert run(store).value("-machine") == "q35,accel=kvm:tcg"


def test_no_disks_format_is_guessed(store: Directory) -> None:
    drives = [value for option, value in zip(*two(run(store).argv), strict=True) if option == "-drive"]
    assert drives == [
        "file=root.dev,format=raw,if=virtio",
        "file=work.ext4,format=raw,if=virtio",
        "file=my-data.ext4,format=raw,if=virtio",
    ]


def two(argv: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return argv[:-1], argv[1:]


def test_the_network_is_the_tap_device_unless_told_otherwise(store: Directory) -> None:
    for variables in ({}, {"BANGERBUILD_NET": "tap"}, {"BANGERBUILD_NET": ""}):
        started = run(store, **variables)
        assert started.value("-netdev") == "tap,id=net0,ifname=tap-web,script=no,downscript=no"
        assert CARD in started.argv


def test_a_missing_tap_device_is_named_with_the_way_to_do_without(store: Directory) -> None:
    assert run(store).stderr == "qemu.sh: there is no tap device tap-web; BANGERBUILD_NET=user does without\n"


def test_the_user_mode_network_has_the_guests_own_addresses(store: Directory) -> None:
    started = run(store, BANGERBUILD_NET="user")
    assert (
        started.value("-netdev")
        == "user,id=net0,net=172.16.0.0/24,host=172.16.0.1,dns=172.16.0.2,dhcpstart=172.16.0.10"
    )
    assert CARD in started.argv
    assert started.stderr == ""


def test_the_user_mode_network_takes_further_options(store: Directory) -> None:
    started = run(store, BANGERBUILD_NET="user,hostfwd=tcp:127.0.0.1:2222-:22,restrict=on")
    assert started.value("-netdev").endswith(
        ",dhcpstart=172.16.0.10,hostfwd=tcp:127.0.0.1:2222-:22,restrict=on"
    )


def test_no_network_is_no_card(store: Directory) -> None:
    started = run(store, BANGERBUILD_NET="none")
    assert "-netdev" not in started.argv
    assert CARD not in started.argv


def test_an_unknown_network_is_refused(store: Directory) -> None:
    started = run(store, BANGERBUILD_NET="users")
    assert (started.code, started.argv) == (3, ())
    assert started.stderr == "qemu.sh: BANGERBUILD_NET is 'users', and not one of tap, user and none\n"


def test_a_snapshot_root_that_is_not_attached_is_said_so(store: Directory) -> None:
    (store.path / "root.dev").unlink()
    (store.path / "root.dev").symlink_to("/dev/mapper/bangerbuild-gone-since-the-host-was-restarted")
    started = run(store)
    assert (started.code, started.argv) == (1, ())
    assert started.stderr == "qemu.sh: there is no root.dev: run attach.sh first, as root\n"


def test_a_vm_without_a_tap_device_has_no_network_unless_qemu_gives_it_one(tmp_path: Path) -> None:
    store = Directory.make(tmp_path)
    (store.path / "root.dev").unlink()
    store.write("qemu.sh", qemu.script(PLAIN, PLAIN_BOOT))
    assert "-netdev" not in run(store).argv
    assert run(store, BANGERBUILD_NET="tap").code == 3
    given = run(store, BANGERBUILD_NET="user")
    assert given.value("-netdev") == "user,id=net0"
    assert "virtio-net-pci,netdev=net0,mac=06:01:00:00:00:01,romfile=" in given.argv


def test_a_vm_without_an_initrd_is_given_none(tmp_path: Path) -> None:
    store = Directory.make(tmp_path)
    store.write("qemu.sh", qemu.script(PLAIN, PLAIN_BOOT))
    assert "-initrd" not in run(store).argv


def test_a_command_line_arrives_as_one_argument(tmp_path: Path) -> None:
    store = Directory.make(tmp_path)
    line = 'init=/bin/sh\t"it\'s  so" $HOME `id` \\'
    boot = replace(PLAIN_BOOT, cmdline=line)
    store.write("qemu.sh", qemu.script(PLAIN, boot))
    assert run(store).value("-append") == f"{line} root=/dev/vda rw"


@pytest.mark.parametrize(
    ("address", "gateway", "options"),
    [
        ("172.16.0.1/24", None, "net=172.16.0.0/24,host=172.16.0.2,dns=172.16.0.3,dhcpstart=172.16.0.1"),
        ("10.1.0.2/24", "10.1.0.1", "net=10.1.0.0/24,host=10.1.0.1,dns=10.1.0.3,dhcpstart=10.1.0.2"),
        ("10.9.8.7/8", "10.0.0.1", "net=10.0.0.0/8,host=10.0.0.1,dns=10.0.0.2,dhcpstart=10.9.8.7"),
        ("10.0.0.6/30", "10.0.0.5", "net=10.0.0.0/24,host=10.0.0.5,dns=10.0.0.1,dhcpstart=10.0.0.6"),
        ("10.0.0.6/30", None, "net=10.0.0.0/24,host=10.0.0.5,dns=10.0.0.1,dhcpstart=10.0.0.6"),
        ("10.0.0.6/32", None, "net=10.0.0.0/24,host=10.0.0.1,dns=10.0.0.2,dhcpstart=10.0.0.6"),
    ],
)
def test_host_and_name_server_find_a_place_beside_the_guest(
    address: str, gateway: str | None, options: str
) -> None:
    assert qemu.user_network(Card("06:00:00:00:00:01", None, address, gateway)) == f",{options}"


@given(ip=st.ip_addresses(v=4, network="10.0.0.0/8"), prefix=st.integers(8, 32))
def test_no_two_have_the_same_address_in_any_network(ip: object, prefix: int) -> None:
    options = qemu.user_network(Card("06:00:00:00:00:01", None, f"{ip}/{prefix}")).split(",")
    addresses = [option.split("=")[1] for option in options if option.startswith(("host=", "dns=", "dhcp"))]
    assert len(set(addresses)) == len(addresses) == 3


@pytest.mark.parametrize("address", ["172.16.0.10/24", "10.9.8.7/8", "10.0.0.6/30", "10.0.0.6/32"])
def test_qemu_takes_the_user_mode_network(address: str) -> None:
    options = qemu.user_network(Card("06:00:00:00:00:01", None, address))
    command = [need("qemu-system-x86_64", "qemu-system-x86"), "-M", "none", "-nodefaults", "-display", "none"]
    done = subprocess.run(
        [*command, "-netdev", f"user,id=net0{options},hostfwd=tcp:127.0.0.1:0-:22", "-monitor", "stdio"],
        input="info usernet\nquit\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(rf" {re.escape(address.partition('/')[0])} +22 ", done.stdout)


@pytest.mark.parametrize("network", ["none", "user"])
def test_qemu_itself_takes_the_script_and_an_argument_that_does_without_kvm(
    store: Directory, network: str
) -> None:
    write_boot_files(store.path)
    for drive in WEB.drives:
        (store.path / drive.path).write_bytes(bytes(512))
    need("qemu-system-x86_64", "qemu-system-x86")
    done = subprocess.run(
        [store.path / "qemu.sh", "-machine", "accel=tcg", "-S"],
        env=os.environ | {"BANGERBUILD_NET": network},
        input="\x01cinfo kvm\ninfo block\nquit\n",  # Ctrl-A C: from the serial console to the monitor
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "kvm support: disabled" in done.stdout
    assert re.findall(r"virtio\d.*: (\S+) \(raw\)", done.stdout) == [drive.path for drive in WEB.drives]


def write_boot_files(vm: Path) -> None:
    """What QEMU takes for a kernel (Documentation/x86/boot.rst) and an initrd; neither is started."""
    kernel = bytearray(64 << 10)
    kernel[0x202:0x208] = b"HdrS\x0c\x02"
    kernel[0x22C:0x230] = (0x37FFFFFF).to_bytes(4, "little")  # how high an initrd may lie
    for path, content in ((WEB_BOOT.kernel, kernel), (WEB_BOOT.initrd, bytes(512))):
        file = vm / str(path)
        file.parent.mkdir(parents=True)
        file.write_bytes(content)


def started(session: Session) -> list[str]:
    """How `boot` starts web."""
    return [word for option in qemu.arguments(WEB, WEB_BOOT, session) for word in option]


def test_boot_starts_the_machine_of_the_script(store: Directory) -> None:
    by_script = run(store, BANGERBUILD_NET="user")
    by_boot = started(Session(kvm=True, network="user"))
    only_script, only_boot = set(by_script.argv) - set(by_boot), set(by_boot) - set(by_script.argv)
    assert only_script == {"mon:stdio"}
    assert only_boot == {
        "-chardev",
        "stdio,id=console,signal=off",
        "chardev:console",
        "-qmp",
        "unix:run/api.sock,server=on,wait=off",
    }


def test_without_kvm_boot_names_tcg_alone() -> None:
    assert "q35,accel=tcg" in started(Session(kvm=False, network="none"))


def test_boot_forwards_ports_of_the_loopback() -> None:
    words = started(Session(kvm=False, network="user", forwards=((FREE_PORT, 22), ("8080", 80))))
    (network,) = (word for word in words if word.startswith("user,"))
    assert network.endswith(",hostfwd=tcp:127.0.0.1:\0-:22,hostfwd=tcp:127.0.0.1:8080-:80")


def test_boot_takes_the_tap_device_or_no_card() -> None:
    assert "tap,id=net0,ifname=tap-web,script=no,downscript=no" in started(Session(kvm=False, network="tap"))
    assert CARD not in started(Session(kvm=False, network="none"))


def test_boots_own_arguments_come_last() -> None:
    assert started(Session(kvm=False, network="user", arguments=("-m", "2G")))[-2:] == ["-m", "2G"]
