"""Built images pushed, and fetched into other stores: two machines, one lock file, docker-registry."""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.commands import push as pushing
from bangerbuild.errors import BangerError, LockFileError, SourceError, UsageError
from bangerbuild.model import Verb
from bangerbuild.model.request import Request
from bangerbuild.planning import host
from bangerbuild.resolving import lockfile
from tests.fakes import RecordingReporter
from tests.need import need
from tests.registry import Registry, running_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.commands.push import PushedArtifact
    from bangerbuild.pipeline import Applied, Loaded

IDS = ["image.small.rootfs", "image.small.work_seed"]
MANIFEST = """\
[cache]
pull = ["docker://{address}/{team}"]
push = "docker://{address}/{team}"
[image.small]
rootfs = {{ directory = "tree" }}
work_seed = {{ directory = "seed", size = "8MiB" }}
[vm.web]
image = "small"
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@dataclass
class Team:
    """A manifest, and the machines of those who build it: each has a store and a cache of its own."""

    directory: Path
    patch: pytest.MonkeyPatch

    def loaded(self, machine: str) -> Loaded:
        self.patch.setenv("XDG_CACHE_HOME", str(self.directory / f"{machine}-cache"))
        request = Request((self.directory / "vm.toml",), self.directory / machine)
        return pipeline.load_request(request)

    def apply(self, machine: str) -> tuple[Applied, list[str]]:
        """Build; what was done, and the warnings."""
        reporter = RecordingReporter()
        done = pipeline.apply(self.loaded(machine), reporter=reporter)
        failed = [result.error for result in done.results if result.error]
        assert failed == []
        return done, [text for event, text in reporter.events if event == "warning"]

    def images(self, machine: str) -> dict[str, str]:
        """What the plan does about the images."""
        plan = pipeline.plan(self.loaded(machine))
        return {action.id: action.verb.value for action in plan.actions if action.id.startswith("image.")}

    def push(self, machine: str, *names: str) -> tuple[PushedArtifact, ...]:
        return pushing.push(self.loaded(machine), names, lambda _one: None)

    @property
    def lock(self) -> lockfile.LockFile:
        return lockfile.read(self.directory / "bangerbuild.lock")


def team_of(registry: Registry, place: Path, patch: pytest.MonkeyPatch, name: str) -> Team:
    """A project in an empty directory, that uses a place of its own in a registry."""
    for variable, value in registry.environ.items():
        patch.setenv(variable, value)
    (place / "tree/etc").mkdir(parents=True)
    (place / "tree/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (place / "tree/data").write_bytes(random.Random(0).randbytes(5 << 20))  # noqa: S311  # no secret
    (place / "seed").mkdir()
    (place / "seed/.profile").write_text("PATH=/bin\n")
    (place / "vm.toml").write_text(MANIFEST.format(address=registry.address, team=name))
    return Team(place, patch)


@pytest.fixture
def team(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Team:
    return team_of(registry, tmp_path, monkeypatch, request.node.name)


def files(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in (store / "images").rglob("*.ext4"))


def test_what_one_machine_pushed_another_fetches_and_builds_no_image(team: Team) -> None:
    team.apply("one")
    pushed = team.push("one")
    assert [(one.id, one.was_there) for one in pushed] == [(step_id, False) for step_id in IDS]
    assert team.images("two") == dict.fromkeys(IDS, "fetch")
    done, warnings = team.apply("two")
    assert [action.id for action in done.plan.actions if action.verb is Verb.FETCH] == IDS
    assert [text for text in warnings if "image." in text] == []
    one, two = team.directory / "one", team.directory / "two"
    assert files(one) == files(two) != []
    for name in files(one):
        subprocess.run([need("cmp", "diffutils"), one / name, two / name], check=True)
    assert team.images("two") == dict.fromkeys(IDS, "keep")
    lock = team.lock
    assert [one.was_there for one in team.push("two")] == [True, True]
    assert team.lock == lock


def test_a_registry_behind_a_password_takes_the_user_s_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry").mkdir()
    with running_registry(tmp_path / "registry", is_private=True) as private:
        team = team_of(private, tmp_path, monkeypatch, "team")
        _, warnings = team.apply("one")
        assert sum("log in" in text for text in warnings) == 0, "nobody is asked without a digest"
        with pytest.raises(SourceError, match="only for those who log in"):
            team.push("one")
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(private.log_in()))
        team.push("one")
        assert team.images("two") == dict.fromkeys(IDS, "fetch")
        team.apply("two")
        assert files(tmp_path / "one") == files(tmp_path / "two")
        monkeypatch.delenv("REGISTRY_AUTH_FILE")
        done, warnings = team.apply("three")
    assert {action.verb for action in done.plan.actions} == {Verb.CREATE}
    assert [f"docker://{private.address}/team" in text for text in warnings if "log in" in text] == [True]


def test_machines_with_other_tools_take_what_the_others_pushed_and_flip_nothing(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.apply("old")
    team.push("old")
    lock = team.lock
    monkeypatch.setitem(host.VERSIONS, "e2fsprogs", lambda: "1.99.0")
    assert team.images("new") == dict.fromkeys(IDS, "fetch")
    team.apply("new")
    assert files(team.directory / "old") == files(team.directory / "new")
    plan = pipeline.plan(team.loaded("new"))
    assert {action.verb for action in plan.actions} == {Verb.KEEP}
    assert [one.was_there for one in team.push("new")] == [True, True]
    assert team.lock == lock
    manifest = team.directory / "vm.toml"
    both = manifest.read_text()
    manifest.write_text(both.partition("[cache]")[0] + both[both.index("[image") :])
    team.apply("apart")  # which built its own before it knew of the cache
    manifest.write_text(both)
    assert [one.was_there for one in team.push("apart")] == [False, False]
    assert len(team.lock.pushed) == 2 * len(lock.pushed)
    assert lock.pushed.items() <= team.lock.pushed.items()


def test_an_edit_pushes_what_changed_and_the_lock_file_forgets_the_recipe_before(team: Team) -> None:
    team.apply("one")
    team.push("one")
    before = team.lock.pushed
    (team.directory / "tree/etc/passwd").write_text("root:x:0:0::/root:/bin/ash\n")
    assert team.images("two") == {"image.small.rootfs": "create", "image.small.work_seed": "fetch"}
    with pytest.raises(BangerError) as caught:
        team.push("one")
    assert caught.value.brief == "not built as it is declared: image.small.rootfs"
    assert caught.value.hint == "bangerbuild apply --target image.small.rootfs"
    team.apply("one")
    assert [one.was_there for one in team.push("one", "small")] == [False, True]
    after = team.lock.pushed
    assert len(after) == len(before)
    assert len(after.keys() & before.keys()) == 1


def test_a_lock_file_that_says_something_else_of_the_same_recipe_is_not_changed(team: Team) -> None:
    team.apply("one")
    team.push("one")
    lock = team.lock
    lied = {key: replace(one, digest="0" * 64) for key, one in lock.pushed.items()}
    path = team.directory / "bangerbuild.lock"
    path.write_text(replace(lock, pushed=lied).text())
    with pytest.raises(LockFileError, match=r"is not what bangerbuild\.lock says was built"):
        team.push("one")
    assert team.lock.pushed == lied
    done, warnings = team.apply("two")
    assert {action.verb for action in done.plan.actions} == {Verb.CREATE}
    assert sum("is not what bangerbuild.lock says: it is not taken" in text for text in warnings) == len(IDS)


def test_pull_fetches_images_and_builds_none(team: Team) -> None:
    reporter = RecordingReporter()
    plan, _ = pipeline.pull(team.loaded("two"), ["small"], reporter=reporter)
    assert {action.verb for action in plan.actions} == {Verb.BLOCKED}
    team.apply("one")
    team.push("one")
    plan, results = pipeline.pull(team.loaded("two"), [])
    assert [(action.id, action.verb) for action in plan.actions] == [(step_id, Verb.FETCH) for step_id in IDS]
    assert [result.error for result in results] == [None, None]
    assert not (team.directory / "two/vms").exists()
    with pytest.raises(UsageError, match="no image is called 'other'"):
        pipeline.pull(team.loaded("two"), ["other"])


def test_offline_asks_nobody_and_builds(team: Team) -> None:
    team.apply("one")
    team.push("one")
    loaded = team.loaded("two")
    plan = pipeline.plan(replace(loaded, request=replace(loaded.request, offline=True)))
    assert {action.verb for action in plan.actions} == {Verb.CREATE}


def test_a_manifest_without_a_registry_says_what_to_write(team: Team) -> None:
    path = team.directory / "vm.toml"
    path.write_text(path.read_text().partition("[cache]")[0] + '[image.small.rootfs]\ndirectory = "tree"\n')
    with pytest.raises(UsageError, match="names no registry to push to") as caught:
        team.push("one")
    assert "[cache]" in str(caught.value.hint)
    with pytest.raises(UsageError, match="names no cache to pull from"):
        pipeline.pull(team.loaded("one"), [])
