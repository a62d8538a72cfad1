"""The second start of the same command line comes to the VMM without the rest of the program."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.launch.session import FREE_PORT
from bangerbuild.running import at_once
from bangerbuild.running.spawning import FREE_PORT as SPAWNINGS
from tests.running.fake_vmms import RUNS, Project

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
HEAVY = (
    "click",
    "dataclasses",
    "json",
    "jsonschema",
    "networkx",
    "pathlib",
    "sqlite3",
    "subprocess",
    "typing",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A VM that was started once in the usual way."""
    project = Project.make(tmp_path_factory.mktemp("again"))
    assert project.run(*WORDS).returncode == 0
    project.close()
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


def test_the_same_words_start_it_with_little_of_the_program(project: Project) -> None:
    assert asked(project, *WORDS) == "at once"
    assert project.state()["ssh"].startswith("127.0.0.1:")
    assert project.value("-netdev").count("hostfwd") == 1


@pytest.mark.parametrize(
    "words", [("boot", "web", "-d"), ("boot", "db", "-d"), ("apply",), (), ("boot", "web", "-d", "--", "-S")]
)
def test_other_words_are_the_command_lines(project: Project, words: tuple[str, ...]) -> None:
    assert asked(project, *words).startswith("not at once")


def test_a_vm_that_runs_is_the_command_lines(project: Project) -> None:
    assert asked(project, *WORDS) == "at once"
    assert asked(project, *WORDS).startswith("not at once")


@pytest.fixture
def restored(project: Project) -> Iterator[Project]:
    """What a test changes is as before afterwards, and started in the usual way."""
    manifest = (project.directory / "vm.toml").read_text()
    yield project
    (project.directory / "vm.toml").write_text(manifest)
    project.install("qemu", RUNS)
    project.close()
    project.run(*WORDS)
    project.close()


def test_something_to_build_is_the_command_lines(restored: Project) -> None:
    with (restored.directory / "vm.toml").open("a") as manifest:
        manifest.write("vcpus = 2\n")
    assert asked(restored, *WORDS).startswith("not at once")


def test_a_guest_that_wrote_is_the_command_lines(restored: Project) -> None:
    os.utime(restored.vm() / "root.ext4")
    assert asked(restored, *WORDS).startswith("not at once")


def test_another_vmm_is_the_command_lines(restored: Project) -> None:
    restored.install("qemu", "exec sleep 3599")
    assert asked(restored, *WORDS).startswith("not at once")


def test_a_damaged_record_is_the_command_lines(restored: Project) -> None:
    (file,) = (restored.directory.parent / "cache" / "bangerbuild" / "boot").iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole.replace(b"web", b"wxb"), b"bangerbuild boot 1 00000000\n"):
        file.write_bytes(damaged)
        assert asked(restored, *WORDS).startswith("not at once")
    file.write_bytes(whole)
    assert asked(restored, *WORDS) == "at once"


def test_without_a_cache_all_is_the_command_lines(project: Project) -> None:
    assert asked(project, *WORDS, XDG_CACHE_HOME="", HOME="").startswith("not at once")


def test_the_word_for_a_free_port_is_the_launch_files() -> None:
    assert SPAWNINGS == FREE_PORT


def test_of_many_records_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(at_once.MOST_RECORDS + 5):
        at_once.remember(
            at_once.Prepared(
                words=[str(number)],
                where="/",
                key=("/", (), None, (), False, False, (), ()),
                basis=0,
                directory="/",
                start={},
                program=[],
                kvm_trouble=None,
                paths={},
                notes=[],
            )
        )
    assert len(list((tmp_path / "bangerbuild" / "boot").iterdir())) == at_once.MOST_RECORDS
