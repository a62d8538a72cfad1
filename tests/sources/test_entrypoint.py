"""The script that runs a container image's program, run by real shells."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.sources.entrypoint import entrypoint
from bangerbuild.tree import GuestFile
from tests.need import need
from tests.sources.roots import HostRoot, MadeUpRoot

if TYPE_CHECKING:
    from bangerbuild.sources.source import BuiltRoot
    from bangerbuild.tree import GuestEdits

SHOW = ("/bin/sh", "-c", 'echo "$GREETING|$PWD|$HOME|$#|$1|$2|$(id -u):$(id -g)"', "sh")
COREUTILS = tuple(f"/usr/bin/{name}" for name in ("env", "mount", "mkdir", "ln", "chown", "sleep", "sync"))
FULL = ("/bin/sh", *COREUTILS)
BUSYBOX = "/bin/busybox"


@dataclass(frozen=True)
class Program:
    """What an image says."""

    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = SHOW
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""


def edits(program: Program, root: BuiltRoot | None = None) -> GuestEdits:
    return entrypoint("/init", program, root or HostRoot(), "docker://x")


def script(program: Program, root: BuiltRoot | None = None) -> GuestFile:
    (file,) = (change for change in edits(program, root).changes if isinstance(change, GuestFile))
    return file


def text(program: Program, *paths: str) -> str:
    """The script for an image with these programs."""
    return script(program, MadeUpRoot(*paths)).content.decode()


def run(program: Program, tmp_path: Path, shell: str = "dash") -> str:
    """What the program prints, run by the script in an environment with what a kernel leaves in one."""
    path = tmp_path / "script"
    path.write_bytes(script(program).content)
    command = [need("busybox", "busybox-static"), "sh"] if shell == "busybox" else [need(shell)]
    kernel = {"TERM": "linux", "HOME": "/", "quiet_option": "1"}
    done = subprocess.run([*command, str(path)], env=kernel, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_is_an_executable_of_roots_at_the_path_that_was_asked_for() -> None:
    file = script(Program())
    assert (file.path, file.mode, file.uid, file.content[:10]) == ("/init", 0o755, 0, b"#!/bin/sh\n")


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_the_program_gets_its_environment_directory_and_arguments(tmp_path: Path, shell: str) -> None:
    program = Program(
        env=("GREETING=it's $HOME `x` \\ fine", "PATH=/usr/bin:/bin", "HOME=/here"),
        working_dir="/usr",
        cmd=("a b", "'*'"),
    )
    assert (
        run(program, tmp_path, shell)
        == f"it's $HOME `x` \\ fine|/usr|/here|2|a b|'*'|{os.getuid()}:{os.getgid()}\n"
    )


def test_a_command_without_an_entry_point_is_the_program(tmp_path: Path) -> None:
    assert run(Program(entrypoint=(), cmd=("/bin/echo", "hello")), tmp_path) == "hello\n"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_the_environment_is_what_a_container_has_and_nothing_else(tmp_path: Path, shell: str) -> None:
    """Names that no shell can set, line breaks and all; nothing of the kernel's or of the script's shell."""
    program = Program(
        env=("A.B=1", "QUOTES='\"", "LINES=a=b\nc", "A.B=2", "EMPTY="), entrypoint=("env", "-0")
    )
    found = run(program, tmp_path, shell).rstrip("\0").split("\0")
    assert sorted(found) == sorted(
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            f"HOSTNAME={Path('/proc/sys/kernel/hostname').read_text().strip()}",
            "TERM=linux",
            "HOME=/root",
            "A.B=2",
            "QUOTES='\"",
            "LINES=a=b\nc",
            "EMPTY=",
        ]
    )


def test_the_image_may_set_what_a_runtime_sets(tmp_path: Path) -> None:
    given = ("HOSTNAME=a", "TERM=b", "HOME=/c", "PATH=/usr/bin")
    found = run(Program(env=given, entrypoint=("env",)), tmp_path).split()
    assert sorted(found) == sorted(given)


@pytest.mark.root
@pytest.mark.parametrize(("user", "ids"), [("nobody", "65534:65534"), ("33:34", "33:34"), ("root", "0:0")])
def test_the_program_runs_as_the_user_that_the_image_says(tmp_path: Path, user: str, ids: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    assert run(Program(user=user), tmp_path).strip().endswith(f"|{ids}")


def test_a_program_that_fails_makes_the_script_fail_alike(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(script(Program(entrypoint=("/bin/sh", "-c", "exit 7"))).content)
    assert subprocess.run([need("dash"), str(tmp_path / "script")], check=False).returncode == 7


def test_what_is_no_setting_is_left_out_with_a_warning() -> None:
    outcome = edits(Program(env=("ALONE", "=x", "GOOD=2")))
    assert [line for line in outcome.warnings if "variable" in line] == [
        "the image's variable 'ALONE' has no name or no value: it is left out",
        "the image's variable '=x' has no name or no value: it is left out",
    ]


def test_a_container_is_not_what_the_program_is_told_that_it_is_in(tmp_path: Path) -> None:
    program = Program(env=("container=oci", "containers=2"), entrypoint=("env",))
    assert "the image's variable 'container=oci' is left out" in edits(program).warnings[0]
    assert [line for line in run(program, tmp_path).split() if "container" in line] == ["containers=2"]


def test_a_stop_signal_is_told() -> None:
    (warning,) = edits(Program(stop_signal="SIGQUIT")).warnings
    assert "stop signal 'SIGQUIT' is not used" in warning


@pytest.mark.parametrize(
    ("paths", "missing"), [((), "'/bin/sh', 'env', 'mount'"), (FULL[:2], "'mount', 'mkdir'")]
)
def test_an_image_without_a_shell_or_tools_is_refused_with_the_way_out(
    paths: tuple[str, ...], missing: str
) -> None:
    with pytest.raises(SourceError, match=f"'docker://x' has no {missing}") as caught:
        edits(Program(), MadeUpRoot(*paths))
    assert "[[image.NAME.file_sync]]" in str(caught.value.hint)


def test_a_busybox_alone_is_enough(tmp_path: Path) -> None:
    """It is what a user is told to put into an image without a shell."""
    found = text(Program(user="5:6", entrypoint=("/app",)), BUSYBOX)
    assert found.startswith("#!/bin/busybox sh\n")
    (tmp_path / "script").write_text(found)
    subprocess.run(
        [need("shellcheck"), "-s", "dash", "-e", "SC2119,SC2120", str(tmp_path / "script")], check=True
    )
    assert '/bin/busybox nsenter -S 5 -G 6 "$@"\n' in found


def test_an_image_that_can_change_no_user_is_refused() -> None:
    root = MadeUpRoot(*FULL, files={"/etc/group": b"w:x:10:root\n", "/etc/passwd": b"root:x:0:0\n"})
    with pytest.raises(
        SourceError, match=r"has no program that could run its own as 'root' \(user 0, .*0,10"
    ):
        edits(Program(), root)


def test_an_init_takes_the_place_of_the_script() -> None:
    assert text(Program(entrypoint=("/sbin/init",)), *FULL).endswith('\nexec "$@"\n')


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_characters_that_no_program_can_get_are_refused(value: str) -> None:
    with pytest.raises(SourceError, match="characters that no program can get"):
        edits(Program(cmd=(value,)))


def test_an_image_without_a_program_is_refused_with_the_way_out() -> None:
    with pytest.raises(SourceError, match="'docker://x' says no program that could be run") as caught:
        edits(Program(entrypoint=()))
    assert "[[image.NAME.file]]" in str(caught.value.hint)


def test_shellcheck_finds_nothing_to_say(tmp_path: Path) -> None:
    program = Program(("A=b",), "/srv", "33:34", ("/bin/app",))
    (tmp_path / "script").write_bytes(script(program).content)
    subprocess.run([need("shellcheck"), str(tmp_path / "script")], check=True)
