"""Where there is nothing to build, a VM is started without the rest of the program, the first time too."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.cli import cli
from bangerbuild.cli.machines import REST, WAIT_SECONDS
from bangerbuild.launch.session import FREE_PORT
from bangerbuild.running import at_once
from bangerbuild.running.spawning import FREE_PORT as SPAWNINGS
from tests.need import need
from tests.ports import reserved_port
from tests.running.fake_vmms import RUNS, Project
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS = ("boot", "web", "-d", "--net", "user")
ASK = """
import sys
from bangerbuild.running import at_once
again = at_once.started(sys.argv[1:])
loaded = sorted({name for name in sys.modules if name in %r})
print("at once" if again else "not at once", *loaded)
"""
HEAVY = ("click", "ctypes", "jsonschema", "networkx", "pathlib", "sqlite3", "subprocess")


def built_in(project: Project) -> None:
    """Apply until that is recorded: what has just been written is not trusted yet."""
    records = project.directory.parent / "cache" / "bangerbuild" / "current"

    def is_recorded() -> bool:
        assert project.run("apply", "-q").returncode == 0
        return records.exists() and bool(list(records.iterdir()))

    eventually(is_recorded)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """VMs that were built, and never started; that KVM does not work is known."""
    project = Project.make(tmp_path_factory.mktemp("again"))
    project.run("doctor")
    built_in(project)
    yield project
    project.close()


@pytest.fixture
def project(built: Project) -> Iterator[Project]:
    yield built
    built.close()


def asked(project: Project, *words: str, **variables: str) -> str:
    """What becomes of a command line."""
    done = subprocess.run(
        [sys.executable, "-c", ASK % (HEAVY,), *words],
        cwd=project.directory,
        env=project.environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_first_start_needs_little_of_the_program_and_so_does_the_second(project: Project) -> None:
    for _ in range(2):
        assert asked(project, *WORDS) == "at once"
        assert project.state()["ssh"].startswith("127.0.0.1:")
        assert project.value("-netdev").count("hostfwd") == 1
        project.close()


def test_what_is_executed_is_what_the_command_line_executes(project: Project) -> None:
    with reserved_port() as port:
        words = ("boot", "web", "-d", "--forward", f"{port}:22", "--", "-m", "2G")
        assert asked(project, *words) == "at once"
        first = project.recorded()
        project.close()
        assert project.run(*words[:3], "--no-apply", *words[3:]).returncode == 0
        assert project.recorded() == first


def test_a_start_is_no_change_for_an_apply(project: Project) -> None:
    """Its run directory comes to the VM's own."""
    assert asked(project, "boot", "db", "-d") == "at once"
    project.close()
    loaded = [sys.executable, "-X", "importtime", "-m", "bangerbuild", "apply", "-q"]
    done = subprocess.run(
        loaded, cwd=project.directory, env=project.environment, capture_output=True, text=True, check=True
    )
    assert "uptodate" in done.stderr
    assert "click" not in done.stderr


def test_that_another_vm_runs_and_writes_does_not_count(project: Project) -> None:
    disk = project.vm("db") / "root.ext4"
    before = disk.stat()
    os.utime(disk)
    (project.vm("db") / "root.ext4.redo").touch()
    assert asked(project, *WORDS) == "at once"
    (project.vm("db") / "root.ext4.redo").unlink()
    os.utime(disk, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "words", [("boot", "wbe", "-d"), ("boot", "web", "-d", "--no-apply"), ("apply",), (), ("boot",)]
)
def test_other_words_are_the_command_lines(project: Project, words: tuple[str, ...]) -> None:
    assert asked(project, *words).startswith("not at once")


def test_a_vm_that_runs_is_the_command_lines(project: Project) -> None:
    assert asked(project, *WORDS) == "at once"
    assert asked(project, *WORDS).startswith("not at once")


def test_a_disk_that_somebody_writes_to_is_the_command_lines(project: Project) -> None:
    with (project.vm() / "root.ext4").open("r+b"):
        assert asked(project, *WORDS).startswith("not at once")


def test_a_port_of_another_vm_is_the_command_lines(project: Project) -> None:
    with reserved_port() as port, reserved_port() as other:
        assert asked(project, "boot", "db", "-d", "--forward", f"{port}:22") == "at once"
        assert asked(project, "boot", "web", "-d", "--forward", f"{port}:22").startswith("not at once")
        assert asked(project, "boot", "web", "-d", "--forward", f"{other}:22") == "at once"


def test_a_change_of_its_disk_that_was_interrupted_is_the_command_lines(project: Project) -> None:
    log = project.vm() / "root.ext4.redo"
    log.touch()
    assert asked(project, *WORDS).startswith("not at once")
    log.unlink()
    assert asked(project, *WORDS) == "at once"


def test_a_vmm_that_is_not_there_is_the_command_lines(project: Project) -> None:
    project.uninstall("qemu")
    assert asked(project, *WORDS).startswith("not at once")
    project.install("qemu", RUNS)


@pytest.fixture
def restored(project: Project) -> Iterator[Project]:
    """What a test changes is as before afterwards, and built."""
    manifest = (project.directory / "vm.toml").read_text()
    yield project
    (project.directory / "vm.toml").write_text(manifest)
    project.close()
    eventually(lambda: project.run("apply", "-q").returncode == 0 and asked(project, *WORDS) == "at once")
    project.close()


def test_something_to_build_is_the_command_lines(restored: Project) -> None:
    with (restored.directory / "vm.toml").open("a") as manifest:
        manifest.write("vcpus = 2\n")
    assert asked(restored, *WORDS).startswith("not at once")


def test_a_guest_that_wrote_is_looked_at_beside_the_start(restored: Project) -> None:
    debugfs(restored.vm() / "root.ext4", "write /dev/null /own")
    assert asked(restored, *WORDS) == "at once"


def test_a_guest_that_changed_what_is_declared_is_the_command_lines(restored: Project) -> None:
    debugfs(restored.vm() / "root.ext4", "rm /etc/hostname")
    assert asked(restored, *WORDS).startswith("not at once")


def debugfs(disk: Path, request: str) -> None:
    """Change a disk as another program does."""
    subprocess.run([need("debugfs"), "-w", "-R", request, disk], capture_output=True, check=True)


def test_without_a_cache_all_is_the_command_lines(project: Project) -> None:
    assert asked(project, *WORDS, XDG_CACHE_HOME="", HOME="").startswith("not at once")
    assert project.run(*WORDS, XDG_CACHE_HOME="", HOME="").returncode == 0


def test_the_word_for_a_free_port_is_the_launch_files() -> None:
    assert SPAWNINGS == FREE_PORT


# The words of the command line

SAMPLES = (
    *("web", "vm.web", "db", "-d", "--detach", "-q", "-dq", "--quiet", "--locked", "--offline", "--no-apply"),
    *("--wait", "--wait=5", "--wait=x", "--wait=inf", "--wait=", "5", "--net", "user", "tap", "--net=none"),
    *("--net=x", "--vmm", "qemu", "--vmm=firecracker", "--vmm=xen", "--forward", "8080:80", "--forward=1:2"),
    *("--forward=8080:81", "--forward=0:1", "--forward=80", "--store", "x", "--store=./a", "--manifest"),
    *("a.toml", "--manifest=./b.toml", "--var", "a=b", "--var=a", "--var-file=v.toml", "-j", "-j2", "-j0"),
    *("--lock-timeout", "--lock-timeout=2", "--", "-m", "2G", "", "-", "--help", "-x"),
)
UNDERSTOOD = (
    "web",
    "vm.web -d",
    "web -d --wait",
    "--wait=60 web",
    "web --net tap --vmm qemu",
    "-d web --forward 8080:80 --forward=2222:22",
    "web --manifest a.toml --manifest b.toml --store here -q -j2",
    "web --var a=b --var-file v.toml --locked --offline",
    "web -d --node a",
    "web -- -m 2G --wait=x",
)


def by_click(words: list[str]) -> dict[str, object] | None:
    """What click makes of the words after `boot`."""
    try:
        context = cli.commands["boot"].make_context("boot", list(words))
    except (click.ClickException, click.exceptions.Exit):
        return None
    return context.params | {"rest": context.meta[REST]}


@given(words=st.lists(st.sampled_from(SAMPLES), max_size=7))
def test_what_is_understood_is_what_click_understands(words: list[str]) -> None:
    found = at_once.asked(words)
    if found is None:
        return
    params = by_click(words)
    assert params is not None
    assert not params["no_apply"]
    assert found.vm == params["vm"]
    wish = found.wish
    assert (wish.vmm, wish.network, wish.forwards) == (params["vmm"], params["network"], params["forwards"])
    assert wish.arguments == params["rest"]
    assert wish.attached == (not params["detach"] and params["wait_seconds"] is None)
    for key, targets in zip(found.keys, [(f"vm.{found.vm}",), ()], strict=True):
        _, manifests, store, targeted, locked, offline, variables, files, node = key
        assert (targeted, locked, offline) == (targets, params["locked"], params["offline"])
        assert list(manifests) == ([*map(str, params["manifest"])] or ["vm.toml"])  # type: ignore[call-overload]
        assert store == (None if params["store"] is None else str(params["store"]))
        assert variables == tuple("=".join(pair) for pair in params["variables"])  # type: ignore[attr-defined]
        assert node == params["node"]
        assert files == tuple(map(str, params["variable_files"]))  # type: ignore[call-overload]


@pytest.mark.parametrize("line", UNDERSTOOD)
def test_the_usual_is_understood(line: str) -> None:
    assert at_once.asked(line.split()) is not None


@pytest.mark.parametrize(
    "line",
    ["", "web db", "web --wait=x", "web --net=x", "web --forward 80", "web --no-apply", "web --json"],
)
def test_all_else_is_left_to_click(line: str) -> None:
    assert at_once.asked(line.split()) is None


def test_how_long_is_waited_is_said_once() -> None:
    assert f"{at_once.WAIT}={WAIT_SECONDS}" == at_once.DEFAULT_WAIT
