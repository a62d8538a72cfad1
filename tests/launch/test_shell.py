"""What the launch scripts have in common, as a shell runs it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.launch import shell
from tests.launch.samples import PLAIN, WEB
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


def run(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [need("dash"), str(script), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def vm(tmp_path: Path) -> Path:
    """A VM's directory whose path wants quoting."""
    path = tmp_path / "a store's $HOME" / "web"
    path.mkdir(parents=True)
    return path


def test_a_script_works_in_its_own_directory_also_through_a_symlink(vm: Path, tmp_path: Path) -> None:
    (vm / "x.sh").write_text(shell.head("Says where it is.\n\nTwice.") + "pwd -P\n")
    (tmp_path / "link.sh").symlink_to(vm / "x.sh")
    for script in (vm / "x.sh", tmp_path / "link.sh"):
        assert run(script, cwd=tmp_path).stdout == f"{os.path.realpath(vm)}\n"
    assert (vm / "x.sh").read_text().splitlines()[:4] == ["#!/bin/sh", "# Says where it is.", "#", "# Twice."]


def test_a_script_ends_at_the_first_error_and_at_a_variable_that_is_not_set(vm: Path) -> None:
    for line in ("false", "echo $unset"):
        (vm / "x.sh").write_text(f"{shell.head('')}{line}\necho reached\n")
        done = run(vm / "x.sh", cwd=vm)
        assert done.returncode != 0
        assert done.stdout == ""


@pytest.mark.parametrize("left", ["root.ext4.redo", "work.ext4.grow"])
def test_a_disk_that_is_changed_by_half_ends_a_script(vm: Path, left: str) -> None:
    (vm / "x.sh").write_text(f"{shell.head('')}{shell.WHOLE}echo started\n")
    assert run(vm / "x.sh", cwd=vm).stdout == "started\n"
    (vm / left).touch()
    done = run(vm / "x.sh", cwd=vm)
    disk = left.rpartition(".")[0]
    said = f"x.sh: a change of {disk} was interrupted: run bangerbuild apply first\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_only_a_root_that_needs_a_device_is_asked_for_it(vm: Path) -> None:
    assert shell.attached_check(PLAIN) == ""
    (vm / "x.sh").write_text(f"{shell.head('')}{shell.attached_check(WEB)}echo started\n")
    done = run(vm / "x.sh", cwd=vm)
    assert (done.returncode, done.stderr) == (
        1,
        "x.sh: there is no root.dev: run attach.sh first, as root\n",
    )
    (vm / "root.dev").touch()
    assert run(vm / "x.sh", cwd=vm).stdout == "started\n"


def test_a_command_gets_its_options_as_they_are_and_then_the_scripts_arguments(vm: Path) -> None:
    options = [("-a", "it's"), ("-b",), ("", "$HOME", "a b"), ("\\",)]
    text = shell.command("printf '<%s>\\n'", options)
    (vm / "x.sh").write_text(shell.head("") + text)
    done = run(vm / "x.sh", "more", "than one", cwd=vm)
    assert done.stdout.splitlines() == [
        f"<{word}>" for word in ("-a", "it's", "-b", "", "$HOME", "a b", "\\", "more", "than one")
    ]


def test_a_vmm_that_can_not_start_a_vm_says_why_on_stderr(vm: Path) -> None:
    (vm / "x.sh").write_text(shell.refusal("x.sh", "QEMU", "it's `too` $old"))
    done = run(vm / "x.sh", cwd=vm)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "x.sh: QEMU can't start this VM: it's `too` $old\n"
