"""Where the tool runs beside a terminal: a composite action, a pre-commit hook, a container image."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import PROJECT
from tests.action_runner import Runner
from tests.need import need
from tests.projects import write_small

BIN = Path(sys.executable).parent
MANIFEST = """\
[image.small]
rootfs = { directory = "tree", size = "16MiB" }

[vm.web]
image = "small"
"""
WRONG = MANIFEST.replace('image = "small"', 'image = "smal"')


def run(*command: str | Path, cwd: Path = PROJECT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


# the action


def test_the_action_is_what_its_host_takes() -> None:
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml")
    assert done.returncode == 0, done.stdout


def test_nothing_that_is_given_to_the_action_becomes_part_of_a_script() -> None:
    steps = yaml.safe_load((PROJECT / "action.yml").read_text())["runs"]["steps"]
    assert not [step["name"] for step in steps if "${{" in step["run"]]


def test_the_scripts_of_the_action_have_no_faults(tmp_path: Path) -> None:
    for step in yaml.safe_load((PROJECT / "action.yml").read_text())["runs"]["steps"]:
        script = tmp_path / f"{step['name']}.sh"
        script.write_text(step["run"])
        done = run(need("shellcheck"), "--shell=bash", script)
        assert done.returncode == 0, done.stdout


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    directory.mkdir()
    write_small(directory, MANIFEST)
    return directory


@pytest.fixture(scope="module")
def temp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runner")


@pytest.fixture(scope="module")
def installed(temp: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first step leaves; the tests that follow share it, as nothing else of it decides."""
    workspace = tmp_path_factory.mktemp("first")
    write_small(workspace, MANIFEST)
    ended = Runner(PROJECT, workspace, temp).run({"python": sys.executable, "plan": "false"})
    assert ended.code == 0, ended.log
    assert ended.step == "Validate"
    assert ended.outputs == {"changes": "", "plan": "", "markdown": ""}
    return temp / "bangerbuild/bin"


@pytest.fixture
def runner(installed: Path, workspace: Path, temp: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setenv("PATH", f"{installed}:{os.environ['PATH']}")
    return Runner(PROJECT, workspace, temp)


def test_the_action_installs_itself_and_shows_the_plan(runner: Runner, workspace: Path) -> None:
    ended = runner.run({"options": "--offline\n"}, skip="Install")
    assert ended.code == 0, ended.log
    assert ended.outputs["changes"] == "true"
    assert "vm.web.root" in ended.summary
    assert Path(ended.outputs["markdown"]).read_text() == ended.summary
    assert run("bangerbuild", "apply", "-q", ended.outputs["plan"], cwd=workspace).returncode == 0
    assert runner.run({}, skip="Install").outputs["changes"] == "false"


def test_the_action_annotates_problems_and_fails(runner: Runner, workspace: Path) -> None:
    (workspace / "vm.toml").write_text(WRONG)
    ended = runner.run({}, skip="Install")
    assert (ended.code, ended.step) == (3, "Validate")
    assert "::error file=vm.toml,line=5::vm.web.image: unknown image 'smal'" in ended.log


def test_paths_with_spaces_and_signs_of_the_shell_are_paths(runner: Runner, workspace: Path) -> None:
    (workspace / "vm.toml").rename(workspace / "$(touch owned) vm.toml")
    ended = runner.run({"manifests": "$(touch owned) vm.toml\n"}, skip="Install")
    assert ended.code == 0, ended.log
    assert not (workspace / "owned").exists()


# the hook


def test_the_hook_checks_each_changed_manifest_in_a_repository(tmp_path: Path) -> None:
    need("git")
    repository = tmp_path / "repository"
    for name, manifest in (("good", MANIFEST), ("bad", WRONG)):
        (repository / name).mkdir(parents=True)
        (repository / name / "vm.toml").write_text(manifest)
    run("git", "init", "--quiet", cwd=repository)
    run("git", "add", "--all", cwd=repository)
    hook = (BIN / "pre-commit", "try-repo", PROJECT, "bangerbuild-validate", "--verbose")
    done = run(*hook, "--all-files", cwd=repository, PRE_COMMIT_HOME=str(tmp_path / "home"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "exit code: 3" in done.stdout
    assert "bad/vm.toml" in done.stdout
    assert "unknown image 'smal'" in done.stdout
    assert "good/vm.toml" not in done.stdout
    run("git", "rm", "--quiet", "--cached", "-r", "bad", cwd=repository)
    done = run(*hook, "--files", "good/vm.toml", cwd=repository, PRE_COMMIT_HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stdout + done.stderr


# the container image


def test_the_dockerfile_has_no_faults() -> None:
    done = run(BIN / "hadolint", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_of_the_tool_is_built_from_all_that_its_wheel_needs() -> None:
    needed = {"pyproject.toml", "bangerbuild", "schemas", "man", "README.md", "LICENSE", ".git"}
    ignored = set((PROJECT / ".dockerignore").read_text().split())
    assert needed & ignored == set()
