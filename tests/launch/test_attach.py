"""attach.sh and detach.sh: what they say and leave alone; tests/boot runs them with a kernel."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.attachment import HostSetup
from bangerbuild.disk.formats import FORMATS
from bangerbuild.launch import shell
from bangerbuild.launch.attach import attach_script, detach_script
from bangerbuild.launch.files import files
from tests.launch.samples import DISKS_ONLY, PLAIN, WEB
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.launch.machine import Machine


@pytest.mark.parametrize("name", ["attach.sh", "detach.sh"])
def test_a_raw_root_needs_nothing_attached_and_its_scripts_say_so(tmp_path: Path, name: str) -> None:
    (text,) = (file.content for file in files(PLAIN) if file.name == name)
    (tmp_path / name).write_text(text)
    command = [need("dash"), name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    verb = name.removesuffix(".sh")
    said = f"root.ext4 needs no device: there is nothing to {verb}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert [path.name for path in tmp_path.iterdir()] == [name]


DIGESTS = {
    ("web", "attach.sh"): "13e7872b3bc42fe1",
    ("web", "detach.sh"): "d9b3009adeafb9b0",
    ("plain", "attach.sh"): "ae563fe6c5eb36c9",
    ("plain", "detach.sh"): "b239ca3c0221db3c",
}
"""Where one of them changes, `Launch.format` has to be raised: else the files of old stores stay."""


@pytest.mark.parametrize("machine", [WEB, PLAIN])
def test_the_scripts_of_a_machine_are_the_same_to_the_byte_as_ever(machine: Machine) -> None:
    texts = {(machine.name, file.name): file.content for file in files(machine)[:2]}
    digests = {key: hashlib.sha256(text.encode()).hexdigest()[:16] for key, text in texts.items()}
    assert digests == {key: digest for key, digest in DIGESTS.items() if key[0] == machine.name}


def test_a_set_up_that_needs_no_root_asks_for_none() -> None:
    setup = HostSetup(
        needs_root=False,
        programs=(),
        packages=(),
        variables={},
        functions="",
        prepare="",
        attach="ln -s root.x root.dev\n",
        detach="rm root.dev\n",
    )
    machine = replace(PLAIN, root=replace(PLAIN.root, setup=setup))
    attach = attach_script(machine)
    assert "root" not in attach.splitlines()[2].replace("root.dev", "")
    assert "id -u" not in attach
    assert attach.endswith("}\n\nln -s root.x root.dev\n")
    assert 'run attach.sh first"' in shell.attached_check(machine)


ODD = "it's a $HOME"
ODD_NAME = replace(
    DISKS_ONLY, name="w", root=FORMATS["snapshot"].attachment("root.cow", f"../{ODD}/rootfs.ext4")
)


@pytest.mark.parametrize("script", [attach_script, detach_script])
def test_what_the_scripts_know_of_a_vm_is_quoted_and_nothing_is_left_to_fill_in(
    script: Callable[[Machine], str], tmp_path: Path
) -> None:
    text = script(ODD_NAME)
    assert "@STORE@" not in text
    assert "for the VM w" in text.splitlines()[1] or "of the VM w" in text.splitlines()[1]
    values = "\n".join(line for line in text.splitlines() if line.startswith(("vm=", "image=")))
    shown = subprocess.run(
        [need("dash"), "-c", f'{values}\nprintf "%s\\n" "$vm" "$image"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == ["w", f"../{ODD}/rootfs.ext4"]


@pytest.mark.parametrize("script", [attach_script, detach_script])
def test_who_is_not_root_is_told_so_and_nothing_is_made(
    script: Callable[[Machine], str], tmp_path: Path
) -> None:
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    for tool in ("losetup", "dmsetup", "blockdev"):
        (bin_directory / tool).write_text("#!/bin/sh\nexit 99\n")
    (bin_directory / "id").write_text("#!/bin/sh\necho 1000\n")
    for program in bin_directory.iterdir():
        program.chmod(0o755)
    vm = tmp_path / "vm"
    vm.mkdir()
    (vm / "root.cow").write_bytes(b"SnAp")
    (vm / "x.sh").write_text(script(DISKS_ONLY))
    environment = {"PATH": f"{bin_directory}:{os.environ['PATH']}"}
    done = subprocess.run(
        [need("dash"), vm / "x.sh"], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "x.sh: needs root\n")
    assert sorted(path.name for path in vm.iterdir()) == ["root.cow", "x.sh"]


@pytest.mark.parametrize("script", [attach_script, detach_script])
def test_a_tool_that_is_missing_is_named_with_where_it_comes_from(
    script: Callable[[Machine], str], tmp_path: Path
) -> None:
    for tool in ("readlink", "dirname"):
        (tmp_path / tool).symlink_to(need(tool, "coreutils"))
    text = script(DISKS_ONLY).replace("PATH=$PATH:/usr/sbin:/sbin\n", "")
    (tmp_path / "x.sh").write_text(text)
    done = subprocess.run(
        [need("dash"), tmp_path / "x.sh"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tmp_path)},
    )
    assert done.returncode == 1
    assert done.stderr == "x.sh: there is no losetup here: it comes with util-linux or dmsetup\n"
