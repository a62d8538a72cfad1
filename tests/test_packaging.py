"""Wheel and sdist, built once and installed as users do it: by pip and by uv, into clean environments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests import PROJECT
from tests.need import need

BIN = Path(sys.executable).parent
EXAMPLE = PROJECT / "examples/vms/two-vms/vm.toml"
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
OTHER_PYTHONS = ("3.12", "3.13", "3.14")
"""Those that the tests do not run on."""


def run(*command: str | Path, cwd: Path = PROJECT, **variables: str) -> str:
    """What a program prints, which must end with 0."""
    environment = {**os.environ, **variables}
    ended = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.strip()


def uv(*words: str | Path, scratch: Path) -> str:
    """uv, without anything of the user's."""
    places = {
        "UV_CACHE_DIR": "cache",
        "UV_TOOL_DIR": "tools",
        "UV_TOOL_BIN_DIR": "bin",
    }
    variables = {name: str(scratch / directory) for name, directory in places.items()}
    return run(BIN / "uv", *words, cwd=scratch, UV_PYTHON_DOWNLOADS="never", **variables)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(BIN / "python", "-m", "build", "--no-isolation", "--outdir", out, PROJECT)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    (found,) = built.glob("*.tar.gz")
    return found


def version_of(wheel: Path) -> str:
    return wheel.name.split("-")[1]


def works(program: Path, wheel: Path) -> None:
    """An installed program says its version, and knows the schema, which a wheel has in another place."""
    assert run(program, "--version", cwd=program.parent) == f"bangerbuild, version {version_of(wheel)}"
    assert run(program, "validate", "--no-sources", EXAMPLE, cwd=program.parent) == ""


def test_a_wheel_needs_no_compiler_and_has_all_that_is_read_at_run_time(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "bangerbuild").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert packaged <= set(names)
    assert "bangerbuild/manifest.schema.json" in names
    pages = {name.rpartition("/")[2] for name in names if "/share/man/man1/" in name}
    assert pages == {path.name for path in (PROJECT / "man").iterdir()}
    assert not any(name.startswith("tests/") for name in names)


def test_the_page_of_the_package_says_what_it_is_and_for_which_python(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    found = Parser().parsestr(archive.read(name).decode())
    assert found["License-Expression"] == "Apache-2.0"
    assert found["Requires-Python"] == ">=3.11"
    assert "microvm" in found["Keywords"].split(",")
    classifiers = found.get_all("Classifier", [])
    supported = {one.rpartition(" ")[2] for one in classifiers if "Python :: 3." in one}
    assert supported == {"3.11", *OTHER_PYTHONS}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    needed = [one for one in found.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert needed == sorted(project["dependencies"])


def test_an_sdist_has_what_its_tests_and_its_wheel_are_made_of(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "schemas/manifest.schema.json", "man/bangerbuild.1"} <= names
    assert {"tests/conftest.py", "tools/manpages.py", "examples/vms/demo/vm.toml"} <= names
    assert not any(name.startswith((".venv", ".cache", ".git/", "build/")) for name in names)


def test_pip_installs_the_wheel_into_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    run(BIN / "python", "-m", "venv", "--without-pip", tmp_path / "env")
    pip = (BIN / "python", "-m", "pip", "--python", tmp_path / "env")
    run(*pip, "install", "--quiet", "--only-binary", ":all:", wheel)
    works(tmp_path / "env/bin/bangerbuild", wheel)
    assert (tmp_path / "env/share/man/man1/bangerbuild-apply.1").is_file()
    assert "no broken requirements" in run(*pip, "check").lower()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where uv keeps what it has downloaded and installed."""
    return tmp_path_factory.mktemp("uv")


def test_uv_installs_wheel_and_sdist_as_a_tool(wheel: Path, sdist: Path, scratch: Path) -> None:
    for package in (wheel, sdist):
        uv("tool", "install", "--force", "--python", sys.executable, package, scratch=scratch)
        works(scratch / "bin/bangerbuild", wheel)


def interpreter(version: str) -> Path | None:
    """A Python of a version, on the path or of pyenv; None if there is none."""
    found = [Path(one) for one in [shutil.which(f"python{version}")] if one]
    if shutil.which("pyenv"):
        root = Path(run("pyenv", "root"))
        found += sorted(root.glob(f"versions/{version}.*/bin/python"))
    for candidate in found:
        code = f"import sys; sys.exit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
        if not subprocess.run([candidate, "-c", code], capture_output=True, check=False).returncode:
            return candidate
    return None


@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_it_is_installed_without_a_compiler_on_each_python_that_is_here(
    version: str, wheel: Path, scratch: Path
) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    environment = scratch / version
    uv("venv", "--quiet", "--python", python, environment, scratch=scratch)
    into = ("--python", environment / "bin/python")
    uv("pip", "install", "--quiet", "--only-binary", ":all:", *into, wheel, scratch=scratch)
    works(environment / "bin/bangerbuild", wheel)


# the version


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the version is told from, in a repository of its own, without tags."""
    need("git")
    repository = tmp_path / "clone"
    (repository / "bangerbuild").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitattributes", ".git_archival.txt"):
        shutil.copy(PROJECT / name, repository)
    run("git", "init", "--quiet", "--initial-branch=main", cwd=repository)
    commit(repository)
    return repository


def commit(repository: Path) -> None:
    run(*GIT, "add", "--all", cwd=repository)
    run(*GIT, "commit", "--quiet", "--allow-empty", "--message=x", cwd=repository)


def version_in(directory: Path) -> str:
    return run(BIN / "python", "-W", "ignore", "-m", "hatchling", "metadata", "version", cwd=directory)


def test_the_version_is_the_tag_and_after_it_the_one_to_come(clone: Path) -> None:
    assert version_in(clone).startswith("0.1")
    assert ".dev" in version_in(clone)
    run("git", "tag", "v1.2.3", cwd=clone)
    assert version_in(clone) == "1.2.3"
    commit(clone)
    head = run("git", "rev-parse", "--short=4", "HEAD", cwd=clone)
    assert version_in(clone).startswith(f"1.2.4.dev1+g{head}")


def test_an_archive_of_a_tag_has_its_version_and_one_of_nothing_has_the_first(clone: Path) -> None:
    run("git", "tag", "v1.2.3", cwd=clone)
    unpacked = clone.with_name("unpacked")
    unpacked.mkdir()
    run("git", "archive", "--output=archive.tar", "HEAD", cwd=clone)
    run("tar", "-xf", clone / "archive.tar", cwd=unpacked)
    assert version_in(unpacked) == "1.2.3"
    (unpacked / ".git_archival.txt").unlink()
    assert version_in(unpacked) == "0.1.0.dev0"
