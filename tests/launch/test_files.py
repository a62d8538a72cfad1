"""The launch files of a VM: their names and modes, and every script as shells and shellcheck read it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.launch.files import files, names
from tests.launch.samples import DISKS_ONLY, PLAIN, WEB
from tests.need import need

if TYPE_CHECKING:
    from bangerbuild.launch.machine import Machine

SCRIPTS = [
    pytest.param(file.content, id=f"{machine.name}-{file.name}")
    for machine in (WEB, PLAIN, DISKS_ONLY)
    for file in files(machine)
    if file.name.endswith(".sh")
]


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_script_is_posix_shell(text: str, shell: str) -> None:
    command = [need(shell), *(["sh"] if shell == "busybox" else []), "-n"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", SCRIPTS)
def test_shellcheck_has_nothing_to_say_about_a_script(text: str) -> None:
    command = [need("shellcheck"), "--shell=sh", "--severity=style", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("machine", "modes"),
    [
        (
            WEB,
            {
                "attach.sh": 0o755,
                "detach.sh": 0o755,
                "firecracker.json": 0o644,
                "cloud-hypervisor.sh": 0o755,
                "qemu.sh": 0o755,
            },
        ),
        (DISKS_ONLY, {"attach.sh": 0o755, "detach.sh": 0o755}),
    ],
)
def test_only_a_vm_with_a_kernel_has_more_than_attach_and_detach(
    machine: Machine, modes: dict[str, int]
) -> None:
    assert {file.name: file.mode for file in files(machine)} == modes


def test_the_same_machine_gives_the_same_text_and_no_absolute_path_of_the_store() -> None:
    assert files(WEB) == files(WEB)
    assert not any(" /home" in file.content or "/build/" in file.content for file in files(WEB))


REFUSED = replace(PLAIN, root=replace(PLAIN.root, refusals={"firecracker": "no luck", "qemu": "nor here"}))


def test_a_vmm_that_can_not_use_the_root_has_a_file_that_says_why() -> None:
    texts = {file.name: file.content for file in files(REFUSED)}
    assert "no luck" in texts["firecracker.json"]
    assert "start this VM: nor here" in texts["qemu.sh"]
    assert (
        texts["cloud-hypervisor.sh"]
        == {file.name: file.content for file in files(PLAIN)}["cloud-hypervisor.sh"]
    )


@pytest.mark.parametrize("machine", [WEB, PLAIN, DISKS_ONLY, REFUSED])
def test_the_names_are_known_before_the_files_are_made(machine: Machine) -> None:
    assert names(kernel=machine.boot is not None) == tuple(file.name for file in files(machine))
