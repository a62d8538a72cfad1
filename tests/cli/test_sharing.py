"""`push`, `pull`, `apply --push` and `gc --cache` as users meet them: words, JSON and exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.ports import reserved_port
from tests.registry import Registry, running_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import CommandLine

IMAGE = '[image.small.rootfs]\ndirectory = "tree"\n'


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry"), deletes=True) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("one")
    return tmp_path


def use(
    project: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, team: str, name: str = "vm"
) -> str:
    """Write a manifest that uses a place in a registry; its address."""
    for variable, value in registry.environ.items():
        monkeypatch.setenv(variable, value)
    address = f"docker://{registry.address}/{team}"
    cache = f'[cache]\npull = ["{address}"]\npush = "{address}"\n'
    (project / f"{name}.toml").write_text(cache + IMAGE)
    return address


def test_what_apply_pushed_another_store_fetches(
    cli: CommandLine, project: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = use(project, registry, monkeypatch, "both")
    done = cli("apply", "--push", cwd=project)
    assert done.returncode == 0, done.stderr
    assert f"  push    image.small.rootfs  {address}/small:" in done.stderr
    plan = json.loads(cli("plan", "--store", "other", "--json", cwd=project).stdout)
    assert (plan["summary"]["fetch"], plan["summary"]["create"]) == (1, 0)
    assert [action["action"] for action in plan["actions"]] == ["fetch"]
    done = cli("pull", "small", "--store", "other", cwd=project)
    assert (done.returncode, done.stdout[:6]) == (0, "1 done"), done.stderr
    assert cli("apply", "--locked", "--store", "other", cwd=project).stdout.startswith("1 kept")
    assert list((project / "other/images/small").glob("*/rootfs.ext4"))


def test_a_push_says_what_was_pushed_and_what_was_there(
    cli: CommandLine, project: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(project, registry, monkeypatch, "said", "team")
    done = cli("push", "small", "team.toml", cwd=project)
    assert done.returncode == 1
    assert "not built as it is declared: image.small.rootfs" in done.stderr
    assert "bangerbuild apply --target image.small.rootfs" in done.stderr
    document = json.loads(cli("apply", "--push", "--json", "team.toml", cwd=project).stdout)
    (pushed,) = document["pushed"]
    assert (pushed["id"], pushed["result"]) == ("image.small.rootfs", "pushed")
    again = json.loads(cli("push", "image.small", "team.toml", "--json", cwd=project).stdout)
    assert again["pushed"] == [{**pushed, "result": "kept"}]
    listed = cli("gc", "--cache", "team.toml", cwd=project)
    assert (listed.returncode, listed.stdout) == (0, "Nothing to remove.\n")


def test_a_registry_that_is_away_is_warned_of_and_all_is_built(
    cli: CommandLine, project: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that has a digest, and a registry that is away."""
    use(project, registry, monkeypatch, "away")
    assert cli("apply", "--push", cwd=project).returncode == 0
    manifest = project / "vm.toml"
    with reserved_port() as port:
        manifest.write_text(manifest.read_text().replace(registry.address, f"127.0.0.1:{port}"))
        done = cli("apply", "--push", "--store", "other", cwd=project)
        assert done.returncode == 0, done.stderr
        assert (
            f"warning: image.small.rootfs: the cache 'docker://127.0.0.1:{port}/away' can't be" in done.stderr
        )
        assert f"warning: not pushed: 'docker://127.0.0.1:{port}/away/small:" in done.stderr
        done = cli("push", cwd=project)
        assert done.returncode == 1
        assert "can't be asked for: nothing answers" in done.stderr
        done = cli("pull", "--store", "third", cwd=project)
        assert done.returncode == 1
        assert "no cache has it" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["push"], "the manifest names no registry to push to"),
        (["apply", "--push"], "the manifest names no registry to push to"),
        (["gc", "--cache"], "the manifest names no registry to push to"),
        (["pull"], "the manifest names no cache to pull from"),
    ],
)
def test_without_a_cache_the_manifest_is_said_to_lack_it(
    cli: CommandLine, project: Path, arguments: list[str], words: str
) -> None:
    (project / "vm.toml").write_text(IMAGE)
    done = cli(*arguments, cwd=project)
    assert done.returncode == 3
    assert words in done.stderr
    assert "under [cache]" in done.stderr
    assert not (project / "build").exists()


def test_an_image_that_is_not_declared_is_said_to_be_none(cli: CommandLine, project: Path) -> None:
    (project / "vm.toml").write_text(f'[cache]\npush = "docker://a.b/c"\npull = ["docker://a.b/c"]\n{IMAGE}')
    for command in ("push", "pull"):
        done = cli(command, "smal", cwd=project)
        assert (done.returncode, done.stdout) == (3, "")
        assert "no image is called 'smal'" in done.stderr
        assert "did you mean 'small'?" in done.stderr
    assert cli("gc", "--yes", cwd=project).returncode == 3
