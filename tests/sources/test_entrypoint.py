"""The script that runs a container image's program, run by real shells."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.sources.entrypoint import entrypoint
from bangerbuild.tree import GuestFile
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

SHOW = ("/bin/sh", "-c", 'echo "$GREETING|$PWD|$HOME|$#|$1|$2|$(id -u):$(id -g)"', "sh")


@dataclass(frozen=True)
class Program:
    """What an image says."""

    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = SHOW
    cmd: tuple[str, ...] = ()


def script(program: Program) -> GuestFile:
    (file,) = entrypoint("/init", program, "docker://x").changes
    assert isinstance(file, GuestFile)
    return file


def run(program: Program, tmp_path: Path, shell: str = "dash") -> str:
    """What the program prints, run by the script in an empty environment."""
    path = tmp_path / "script"
    path.write_bytes(script(program).content)
    command = [need("busybox", "busybox-static"), "sh"] if shell == "busybox" else [need(shell)]
    done = subprocess.run([*command, str(path)], env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_is_an_executable_of_roots_at_the_path_that_was_asked_for() -> None:
    file = script(Program())
    assert (file.path, file.mode, file.uid, file.content[:10]) == ("/init", 0o755, 0, b"#!/bin/sh\n")


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_the_program_gets_its_environment_directory_and_arguments(tmp_path: Path, shell: str) -> None:
    program = Program(
        env=("GREETING=it's $HOME `x` \\ fine", "PATH=/usr/bin:/bin"),
        working_dir="/usr",
        cmd=("a b", "'*'"),
    )
    assert (
        run(program, tmp_path, shell)
        == f"it's $HOME `x` \\ fine|/usr|/root|2|a b|'*'|{os.getuid()}:{os.getgid()}\n"
    )


def test_a_command_without_an_entry_point_is_the_program(tmp_path: Path) -> None:
    assert run(Program(entrypoint=(), cmd=("/bin/echo", "hello")), tmp_path) == "hello\n"


def test_where_the_image_says_nothing_a_container_has_the_usual_path_and_the_top_directory(
    tmp_path: Path,
) -> None:
    show = ("/bin/sh", "-c", 'echo "$PATH $PWD"')
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert run(Program(entrypoint=show), tmp_path) == f"{path} /\n"


def test_a_value_may_hold_line_breaks_and_equals_signs(tmp_path: Path) -> None:
    assert run(Program(env=("GREETING=a=b\nc",)), tmp_path).startswith("a=b\nc|")


@pytest.mark.root
@pytest.mark.parametrize(("user", "ids"), [("nobody", "65534:65534"), ("33:34", "33:34"), ("root", "0:0")])
def test_the_program_runs_as_the_user_that_the_image_says(tmp_path: Path, user: str, ids: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    assert run(Program(user=user), tmp_path).strip().endswith(f"|{ids}")


def test_a_program_that_fails_makes_the_script_fail_alike(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(script(Program(entrypoint=("/bin/sh", "-c", "exit 7"))).content)
    assert subprocess.run([need("dash"), str(tmp_path / "script")], check=False).returncode == 7


def test_a_name_that_no_shell_can_set_is_left_out_with_a_warning() -> None:
    outcome = entrypoint("/init", Program(env=("A.B=1", "GOOD=2")), "docker://x")
    (file,) = outcome.changes
    assert isinstance(file, GuestFile)
    assert outcome.warnings == ("no shell can set 'A.B': it is left out",)
    assert b"A.B" not in file.content
    assert b"export GOOD=2\n" in file.content


def test_an_image_without_a_program_is_refused_with_the_way_out() -> None:
    with pytest.raises(SourceError, match="'docker://x' says no program that could be run") as caught:
        entrypoint("/init", Program(entrypoint=()), "docker://x")
    assert "[[image.NAME.file]]" in str(caught.value.hint)


def test_shellcheck_finds_nothing_to_say(tmp_path: Path) -> None:
    program = Program(("A=b",), "/srv", "app:app", ("/bin/app",))
    (tmp_path / "script").write_bytes(script(program).content)
    subprocess.run([need("shellcheck"), str(tmp_path / "script")], check=True)
