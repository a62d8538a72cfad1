"""`boot`, `ssh`, `logs`, `ps` and `stop` as a user types them, with VMMs that are scripts."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import stat
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from bangerbuild.cli import machines
from bangerbuild.disk.attachment import VMM_NAMES
from tests.need import need
from tests.ports import reserved_port
from tests.running.fake_vmms import MANIFEST, RUNS, Project
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Both VMs, built; each test leaves nothing running."""
    project = Project.make(tmp_path_factory.mktemp("machines"))
    assert project.run("apply", "-q").returncode == 0
    yield project
    project.close()


@pytest.fixture
def project(built: Project) -> Iterator[Project]:
    built.install("qemu", RUNS)
    yield built
    built.run("stop", "--all", "--kill")


def running(project: Project) -> list[str]:
    vms = json.loads(project.run("ps", "--json").stdout)["vms"]
    return [vm["vm"] for vm in vms]


def test_the_vmms_are_those_that_launch_files_are_written_for() -> None:
    assert sorted(machines.VMMS) == sorted(VMM_NAMES)


# In the background


def test_a_vm_in_the_background_is_found_again_and_stopped(project: Project) -> None:
    done = project.run("boot", "web", "-d")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("web runs (qemu, process ")
    assert "bangerbuild ssh web" in done.stdout
    (vm,) = json.loads(project.run("ps", "--json").stdout)["vms"]
    assert list(vm) == ["vm", "vmm", "pid", "since", "ssh"]
    assert (vm["vm"], vm["vmm"]) == ("web", "qemu")
    assert vm["ssh"] == project.state()["ssh"]
    os.kill(vm["pid"], 0)
    table = project.run("ps").stdout.splitlines()
    assert table[0].split() == ["VM", "VMM", "PID", "SINCE", "SSH"]
    assert table[1].split()[:3] == ["web", "qemu", str(vm["pid"])]
    stopped = project.run("stop", "web", "--timeout", "0")
    assert (stopped.returncode, stopped.stdout[:5]) == (0, "web: ")
    assert running(project) == []


def test_a_vm_whose_manifest_is_gone_is_found_and_stopped(project: Project, tmp_path: Path) -> None:
    project.run("boot", "web", "-d")
    manifest = project.directory / "vm.toml"
    manifest.rename(tmp_path / "aside.toml")
    try:
        assert running(project) == ["web"]
        assert project.run("stop", "web", "--kill").returncode == 0
    finally:
        (tmp_path / "aside.toml").rename(manifest)


def test_its_files_are_nobody_elses(project: Project) -> None:
    project.run("boot", "web", "-d")
    assert stat.S_IMODE((project.vm() / "run").stat().st_mode) == 0o700


def test_two_vms_run_at_once_with_a_port_each(project: Project) -> None:
    for vm in ("web", "db"):
        assert project.run("boot", vm, "-d").returncode == 0
    assert running(project) == ["db", "web"]
    assert project.state("web")["ssh"] != project.state("db")["ssh"]
    assert project.run("stop", "web", "db", "--kill").returncode == 0
    assert running(project) == []


def test_a_vm_that_runs_is_not_started_twice(project: Project) -> None:
    project.run("boot", "web", "-d")
    again = project.run("boot", "web", "-d")
    assert again.returncode == 4
    assert "error: 'web' is already running (qemu, process " in again.stderr
    assert "bangerbuild ssh web, bangerbuild logs web -f, or bangerbuild stop web" in again.stderr


def test_of_two_starts_at_once_one_wins(project: Project) -> None:
    each = [project.start("boot", "web", "-d", "--no-apply") for _ in range(2)]
    for process in each:
        process.communicate()
    assert sorted(process.returncode for process in each) == [0, 4]
    assert running(project) == ["web"]


def test_a_vm_that_ends_at_once_shows_what_it_said(project: Project) -> None:
    project.install("qemu", "echo 'on the console'; echo 'no such machine' >&2; exit 7")
    done = project.run("boot", "web", "-d")
    assert done.returncode == 1
    assert "error: 'web' has ended, with 7" in done.stderr
    assert "  on the console\n  no such machine\n" in done.stderr
    assert running(project) == []


def test_one_that_ends_well_within_a_second_was_not_started_either(project: Project) -> None:
    project.install("qemu", "echo 'that was it'")
    for arguments in (["-d"], []):
        done = project.run("boot", "web", *arguments)
        assert done.returncode == 1
        assert "error: 'web' has ended, with 0\n  that was it\n" in done.stderr


def test_a_guest_that_panics_is_told_so(project: Project) -> None:
    project.install("qemu", "sleep 1.5; echo 'Kernel panic - not syncing: no init'")
    for arguments in ([], ["--wait"]):
        done = project.run("boot", "web", "--net", "none", *arguments)
        assert done.returncode == 1
        assert "error: the guest of 'web' panicked" in done.stderr


def test_another_port_is_taken_where_somebody_else_was_faster(project: Project) -> None:
    script = """
    echo once >>run/../tries
    if [ "$(wc -l <tries)" -lt 3 ]; then
        echo "qemu: -netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:1-:22'" >&2
        exit 1
    fi
    exec sleep 3600"""
    (project.vm() / "tries").unlink(missing_ok=True)
    project.install("qemu", script)
    done = project.run("boot", "web", "-d")
    (project.vm() / "tries").unlink()
    assert done.returncode == 0, done.stderr
    assert running(project) == ["web"]


# Waiting


def test_waiting_ends_with_the_prompt_where_there_is_no_sshd(project: Project) -> None:
    project.install("qemu", "sleep 1.2; printf 'Debian web ttyS0\\r\\n\\r\\nweb login: '; exec sleep 3600")
    done = project.run("boot", "web", "--wait=120")
    assert done.returncode == 0, done.stderr
    assert "it has come up after " in done.stdout
    assert running(project) == ["web"]


def test_waiting_may_take_too_long(project: Project) -> None:
    project.install("qemu", "echo starting; exec sleep 3600")
    done = project.run("boot", "web", "-d", "--wait=0.1")
    assert done.returncode == 1
    assert "error: 'web' runs, but its console did not show that it has come up within 0.1 s" in done.stderr
    assert "  starting\n" in done.stderr
    assert running(project) == ["web"]


@pytest.mark.parametrize("seconds", ["soon", "-1", "nan"])
def test_a_time_is_a_number(project: Project, seconds: str) -> None:
    done = project.run("boot", "web", f"--wait={seconds}")
    assert done.returncode == 3
    assert f"'{seconds}' is no number of seconds" in done.stderr


# In the foreground


def test_the_console_is_on_the_terminal_until_the_vm_ends(project: Project) -> None:
    project.install("qemu", 'echo begun; read line; echo "got $line"; sleep 1.5')
    done = project.run("boot", "web", typed="hello\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "begun\ngot hello\n"
    assert project.run("logs", "web").stdout == done.stdout


def test_ctrl_a_x_ends_it(project: Project) -> None:
    done = project.run("boot", "web", typed="\x01x")
    assert done.returncode == 0, done.stderr
    assert running(project) == []


def test_ctrl_a_d_leaves_it_running(project: Project) -> None:
    done = project.run("boot", "web", typed="\x01d")
    assert done.returncode == 0, done.stderr
    assert running(project) == ["web"]
    assert "bangerbuild logs web -f" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_us_ends_it(project: Project, number: signal.Signals) -> None:
    process = project.start("boot", "web")
    assert process.stdout is not None
    assert process.stdout.readline() == "web login: \n"
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "interrupted: web was ended" in said
    assert running(project) == []


def test_what_ends_us_before_the_console_is_there_ends_it_too(project: Project) -> None:
    """The VMM is executed before the rest of the program is loaded."""
    eventually(
        lambda: (
            project.run("apply", "-q").returncode == 0
            and "click" not in project.run("apply", "-q", PYTHONPROFILEIMPORTTIME="1").stderr
        )
    )
    shutil.rmtree(project.vm() / "run", ignore_errors=True)
    process = project.start("boot", "web")
    eventually((project.vm() / "run" / "state").exists)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "interrupted: web was ended" in said
    assert running(project) == []


def test_a_vm_goes_on_without_the_command_that_started_it(project: Project) -> None:
    process = project.start("boot", "web")
    assert process.stdout is not None
    assert process.stdout.readline() == "web login: \n"
    process.kill()
    process.communicate()
    assert running(project) == ["web"]
    assert project.run("stop", "web", "--timeout=0").returncode == 0
    assert running(project) == []


def test_the_terminal_is_as_before(project: Project) -> None:
    project.install("qemu", "echo begun; read line; kill -9 $$")
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(ours)
    script = """if True:
        import fcntl, os, sys, termios
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.execv(sys.executable, [sys.executable, "-m", "bangerbuild", "boot", "web", "-q"])
    """
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=project.directory,
        env=project.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(theirs)
        said = b""
        while b"begun" not in said:
            said += os.read(ours, 100)
        assert not termios.tcgetattr(ours)[3] & termios.ICANON
        os.write(ours, b"\n")
        assert process.wait() == 1
    assert termios.tcgetattr(ours) == before
    os.close(ours)


# Networks and ports


@pytest.fixture
def free() -> Iterator[int]:
    """A port of this host that nobody else is given."""
    with reserved_port() as port:
        yield port


def test_the_declared_address_and_gateway_are_right_without_a_device(project: Project, free: int) -> None:
    project.run("boot", "web", "-d", "--forward", f"{free}:80", "--net", "user")
    netdev = project.value("-netdev")
    assert netdev.startswith("user,id=net0,net=172.16.0.0/24,host=172.16.0.1,")
    assert ",dhcpstart=172.16.0.10," in netdev
    port = project.state()["ssh"].rpartition(":")[2]
    assert netdev.endswith(f",hostfwd=tcp:127.0.0.1:{port}-:22,hostfwd=tcp:127.0.0.1:{free}-:80")


def test_a_port_that_is_given_for_ssh_is_the_one(project: Project, free: int) -> None:
    project.run("boot", "web", "-d", "--forward", f"{free}:22")
    assert project.state()["ssh"] == f"127.0.0.1:{free}"
    assert project.value("-netdev").count("hostfwd") == 1


def test_a_port_of_another_vm_is_named_with_the_vm(project: Project, free: int) -> None:
    project.run("boot", "web", "-d", "--forward", f"{free}:80")
    done = project.run("boot", "db", "-d", "--forward", f"{free}:80")
    assert done.returncode == 1
    assert f"error: port {free} of this host leads to 'web' already" in done.stderr
    assert running(project) == ["web"]


def test_a_port_that_is_taken_is_named(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        done = project.run("boot", "web", "-d", "--forward", f"{port}:80")
    assert done.returncode == 1
    assert f"error: port {port} of this host is taken" in done.stderr


@pytest.mark.parametrize(
    "text", ["80", "80:", ":80", "a:b", "0:80", "80:65536", "1:2:3", "-1:80", "8080:80/udp", "٣:80"]
)
def test_a_forward_that_is_none_is_refused(project: Project, text: str) -> None:
    done = project.run("boot", "web", "-d", f"--forward={text}")
    assert done.returncode == 3
    assert f"'{text}' is not HOSTPORT:GUESTPORT" in done.stderr


def test_one_port_can_not_lead_to_two(project: Project) -> None:
    done = project.run("boot", "web", "-d", "--forward", "8080:80", "--forward", "8080:81")
    assert (done.returncode, "port 8080 of this host is named twice" in done.stderr) == (3, True)
    done = project.run("boot", "web", "-d", "--forward", "8080:80", "--net", "none")
    assert done.returncode == 3


def test_a_tap_device_that_is_not_there_is_told_if_it_was_asked_for(project: Project) -> None:
    done = project.run("boot", "web", "-d", "--net", "tap")
    assert done.returncode == 1
    assert "there is no tap device tap-web" in done.stderr
    assert "hint: sudo ip tuntap add tap-web mode tap user $USER" in done.stderr


def test_without_a_network_there_is_no_card_and_no_ssh(project: Project) -> None:
    project.run("boot", "web", "-d", "--net", "none")
    assert not any("virtio-net" in word for word in project.argv())
    assert json.loads(project.run("ps", "--json").stdout)["vms"][0]["ssh"] is None
    done = project.run("ssh", "web")
    assert done.returncode == 255
    assert "it has no network" in done.stderr


# VMMs


def test_words_after_two_dashes_are_the_vmms(project: Project) -> None:
    project.run("boot", "web", "-d", "--", "-m", "2G", "--wait", "a b")
    assert project.argv()[-4:] == ["-m", "2G", "--wait", "a b"]
    done = project.run("boot", "db", "stray")
    assert done.returncode == 3


def test_cloud_hypervisor_is_started_with_its_api_and_a_log(project: Project) -> None:
    project.install("cloud-hypervisor", "exec sleep 3600")
    done = project.run("boot", "web", "-d", "--vmm", "cloud-hypervisor")
    project.uninstall("cloud-hypervisor")
    assert done.returncode == 0, done.stderr
    assert project.value("--api-socket") == "path=run/api.sock"
    assert project.value("--serial") == "file=run/console.log"
    assert "'web' has no network: there is no tap device tap-web" in done.stderr
    assert project.recorded()[0] == str(project.vm())


def test_cloud_hypervisors_console_is_a_terminal_in_the_foreground(project: Project) -> None:
    project.install(
        "cloud-hypervisor", 'test -t 0 && echo "on a terminal"; read line; echo "got $line"; sleep 1.2'
    )
    done = project.run("boot", "web", "--vmm", "cloud-hypervisor", typed="hello\n")
    project.uninstall("cloud-hypervisor")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "on a terminal\ngot hello\n"
    assert project.run("logs", "web").stdout == done.stdout
    assert project.value("--serial") == "tty"


def test_firecracker_is_started_with_its_api_and_a_configuration(project: Project) -> None:
    project.install("firecracker", "echo 'a console'; exec sleep 3600")
    done = project.run("boot", "web", "-d", "--vmm", "firecracker")
    project.uninstall("firecracker")
    assert done.returncode == 0, done.stderr
    assert project.argv() == ["--api-sock", "run/api.sock", "--config-file", "run/firecracker.json"]
    config = json.loads((project.vm() / "run" / "firecracker.json").read_text())
    by_hand = json.loads((project.vm() / "firecracker.json").read_text())
    assert config.pop("network-interfaces") == []
    by_hand.pop("network-interfaces")
    assert config == by_hand
    assert project.run("logs", "web").stdout == "a console\n"


def test_a_network_that_the_vmm_has_not_is_refused(project: Project) -> None:
    done = project.run("boot", "web", "--vmm", "firecracker", "--net", "user")
    assert done.returncode == 3
    assert "Firecracker can't start 'web': it has no network 'user'" in done.stderr


def test_a_vmm_that_is_not_installed_is_named_with_its_package(project: Project) -> None:
    project.uninstall("qemu")
    done = project.run("boot", "web", "-d")
    assert done.returncode == 1
    assert "error: nothing here can start 'web'" in done.stderr
    assert "'qemu-system-x86_64' is not installed" in done.stderr
    assert "hint: apt install qemu-system-x86" in done.stderr
    done = project.run("boot", "web", "-d", "--vmm", "qemu")
    assert done.returncode == 1
    assert "error: 'qemu-system-x86_64' is not installed" in done.stderr


# Names and places


@pytest.mark.parametrize("command", ["boot", "ssh", "logs", "stop"])
def test_a_vm_that_is_not_declared_may_be_another(project: Project, command: str) -> None:
    done = project.run(command, "wbe")
    assert done.returncode == 3
    assert "error: no VM is called 'wbe'\n  hint: did you mean 'web'?" in done.stderr


def test_a_name_that_leads_elsewhere_is_no_vms(project: Project) -> None:
    assert project.run("logs", "../vms/web").returncode == 3
    assert project.run("boot", "vm.web", "-d").returncode == 0


def test_logs_of_a_vm_that_was_not_started(project: Project) -> None:
    done = project.run("logs", "db")
    if not (project.vm("db") / "run" / "console.log").exists():
        assert done.returncode == 1
        assert "it was not started yet" in done.stderr


def test_logs_are_followed_until_the_vm_ends(project: Project) -> None:
    project.install("qemu", "echo first; read line; echo last")
    project.run("boot", "web", "-d")
    follower = project.start("logs", "web", "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "first\n"
    with (project.vm() / "run" / "console.in").open("w") as typed:
        typed.write("\n")
    out, _ = follower.communicate()
    assert (out, follower.returncode) == ("last\n", 0)


def test_a_vm_can_be_stopped_while_its_manifest_is_broken(project: Project) -> None:
    project.run("boot", "web", "-d")
    manifest = project.directory / "vm.toml"
    text = manifest.read_text()
    manifest.write_text(text + "[vm.new]\nunknown = true\n")
    try:
        assert project.run("boot", "web", "-d").returncode == 3
        assert running(project) == ["web"]
        assert project.run("stop", "web", "--kill").returncode == 0
    finally:
        manifest.write_text(text)
    assert project.run("stop", "web").stderr == "web: not running\n"


def test_what_a_killed_vm_left_is_not_taken_for_a_vm(project: Project) -> None:
    project.run("boot", "web", "-d")
    pid = int(project.state()["pid"])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: running(project) == [])
    assert (project.vm() / "run" / "state").exists()
    assert project.run("boot", "web", "-d").returncode == 0
    assert int(project.state()["pid"]) != pid


def test_stop_wants_names_or_all(project: Project) -> None:
    assert project.run("stop").returncode == 3
    assert project.run("stop", "web", "--all").returncode == 3
    assert project.run("stop", "--all").returncode == 0


def test_ps_of_a_store_that_is_not_there_lists_nothing(project: Project, tmp_path: Path) -> None:
    done = project.run("ps", "--json", "--store", str(tmp_path / "none"))
    assert json.loads(done.stdout) == {"vms": []}


# ssh


def test_ssh_ends_with_255_where_nothing_answers(project: Project) -> None:
    need("ssh", "openssh-client")
    done = project.run("ssh", "web", "--", "true")
    assert done.returncode == 255
    assert "error: 'web' is not running\n  hint: bangerbuild boot web -d --wait" in done.stderr
    with reserved_port() as port:
        project.run("boot", "web", "-d", "--forward", f"{port}:22")
        assert project.run("ssh", "web", "--", "true").returncode == 255


def test_ssh_is_given_the_way_the_key_and_the_command(project: Project, free: int) -> None:
    recorder = project.directory.parent / "bin" / "ssh"
    recorder.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\nexit 42\n')
    recorder.chmod(0o755)
    key = project.directory / "a key"
    key.touch()
    project.run("boot", "web", "-d", "--forward", f"{free}:22")
    done = project.run("ssh", "web", "-i", "a key", "--", "ls", "-l", "a b")
    recorder.unlink()
    assert done.returncode == 42
    words = done.stdout.splitlines()
    assert words[0] == str(project.vm())
    assert words[1:5] == ["-p", str(free), "-l", "root"]
    assert f'-oIdentityFile="{key}"' in words
    assert words[-2:] == ["127.0.0.1", "ls -l 'a b'"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["web", "ls", "-l", "a b"], "ls -l 'a b'"),
        (["web", "ls -l | wc"], "ls -l | wc"),
        (["web", "-i", "a key", "sh", "-c", "a -- b", "-i"], "sh -c 'a -- b' -i"),
        (["--store", "build", "web", "--manifest=vm.toml", "env", "--store", "--", "x"], "env --store -- x"),
        (["web", "--", "-x", "--help"], "-x --help"),
    ],
)
def test_what_follows_the_vm_and_our_options_is_the_guests(
    project: Project, words: list[str], line: str
) -> None:
    recorder = project.directory.parent / "bin" / "ssh"
    recorder.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    recorder.chmod(0o755)
    (project.directory / "a key").touch()
    project.run("boot", "web", "-d")
    done = project.run("ssh", *words)
    recorder.unlink()
    assert done.stdout.splitlines()[-2:] == ["127.0.0.1", line], done.stderr


def test_an_unknown_option_before_the_command_is_ours_and_refused(project: Project) -> None:
    done = project.run("ssh", "web", "-x", "ls")
    assert done.returncode == 3
    assert "no such option '-x'" in done.stderr


def test_a_key_that_is_not_there_is_refused(project: Project) -> None:
    project.run("boot", "web", "-d")
    assert project.run("ssh", "web", "-i", "none").returncode == 3


def test_a_missing_tap_of_a_networks_bridge_is_made_by_its_script(tmp_path: Path) -> None:
    shared = f'[network.lan]\nsubnet = "172.16.0.0/24"\nbridge = "br-x"\n{MANIFEST}network.name = "lan"\n'
    project = Project.make(tmp_path, shared + 'network.address = "172.16.0.11/24"\n')
    script = project.directory / "build" / "net" / "lan" / "up.sh"
    for first in ("bangerbuild apply --target network.lan, then ", ""):
        done = project.run("boot", "db", "-d", "--net", "tap")
        assert done.returncode == 1
        assert f"hint: {first}sudo {script}\n" in done.stderr
        assert project.run("apply", "-q", "--target", "network.lan").returncode == 0
        assert script.exists()


# Disks


def test_a_root_that_is_not_attached_is_told_with_the_ways_out(tmp_path: Path) -> None:
    project = Project.make(tmp_path, MANIFEST.replace('root.format = "raw"\n', ""))
    done = project.run("boot", "web", "-d", "-q")
    assert done.returncode == 1
    assert "error: the root of 'web' is not attached" in done.stderr
    assert f'hint: sudo {project.vm() / "attach.sh"}, or root.format = "qcow2"' in done.stderr


def test_a_vm_without_a_kernel_can_not_be_started(tmp_path: Path) -> None:
    project = Project.make(tmp_path, MANIFEST.replace('kernel = "vmlinux"\n', ""))
    done = project.run("boot", "web", "-d", "-q")
    assert done.returncode == 3
    assert "error: 'web' has no kernel to start with" in done.stderr


def test_nothing_is_started_where_the_apply_is_blocked_or_fails(tmp_path: Path) -> None:
    project = Project.make(tmp_path)
    project.run("apply", "-q")
    with (project.vm() / "root.ext4").open("r+b") as disk:
        disk.truncate(disk.seek(0, 2) + 4096)  # as no guest leaves it
    text = (project.directory / "vm.toml").read_text()
    (project.directory / "vm.toml").write_text(text.replace('size = "16MiB"', 'size = "17MiB"'))
    done = project.run("boot", "web", "-d", "-q")
    assert done.returncode == 1
    assert "error: 'web' was not started: vm.web.root" in done.stderr
    assert running(project) == []


def test_a_disk_that_is_in_use_is_not_given_to_a_vm(project: Project) -> None:
    with (project.vm() / "root.ext4").open("r+b"):
        done = project.run("boot", "web", "-d", "--no-apply")
    assert done.returncode == 4
    assert "root.ext4' is in use by" in done.stderr


def test_a_vm_that_was_not_built_can_not_be_started_as_it_is(tmp_path: Path) -> None:
    project = Project.make(tmp_path)
    done = project.run("boot", "web", "-d", "--no-apply")
    assert done.returncode == 1
    assert "was not made yet" in done.stderr


def test_a_vm_that_runs_is_not_destroyed(project: Project) -> None:
    project.run("boot", "db", "-d")
    done = project.run("destroy", "--target", "vm.db", "--yes")
    assert done.returncode == 4
    assert "'db' is running" in done.stderr
    assert (project.vm("db") / "root.ext4").exists()


def test_what_a_start_left_goes_with_the_vm_and_is_nothing_to_gc(tmp_path: Path) -> None:
    project = Project.make(tmp_path)
    project.run("boot", "web", "-d", "-q")
    project.run("stop", "web", "--kill")
    assert "Nothing to remove." in project.run("gc").stdout
    assert (project.vm() / "run" / "console.log").exists()
    done = project.run("destroy", "--target", "vm.web", "--yes")
    assert (done.returncode, "stays" in done.stderr) == (0, False), done.stderr
    assert not project.vm().exists()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user")
def test_a_run_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    project = Project.make(tmp_path)
    project.run("apply", "-q")
    (project.vm() / "run").mkdir()
    os.chown(project.vm() / "run", 65534, 65534)
    done = project.run("boot", "web", "-d", "-q")
    assert done.returncode == 1
    assert "run' belongs to another user (uid 65534)" in done.stderr


def test_a_store_with_a_long_path_is_as_good(tmp_path: Path) -> None:
    project = Project.make(tmp_path)
    store = tmp_path / ("s" * 100) / ("t" * 100)
    done = project.run("boot", "web", "-d", "-q", "--store", str(store))
    assert done.returncode == 0, done.stderr
    listed = json.loads(project.run("ps", "--json", "--store", str(store)).stdout)
    assert len(listed["vms"]) == 1
    done = project.run("stop", "web", "--store", str(store), "--timeout=0")
    assert (done.returncode, done.stdout[:5]) == (0, "web: ")
