"""One scene, drilled: run once and recorded, then run to its end from each state that a power cut may leave.

In each state the command ends well. Then the store holds what it holds after a run without a cut: the same
names, disks that e2fsck finds clean with the same files on them, and what guests wrote on the same inodes. A
second run finds nothing to do, and `verify` nothing wrong. Where the power fails after the end of the run,
nothing of it is lost: the first run finds nothing to do either.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.disk.ext4_tools import assert_clean
from tests.drills.drill import digest_of, names, raw_of
from tests.drills.scenes import SENTINEL
from tests.drills.trees import differences, tree
from tests.powercut.content import Content
from tests.powercut.history import History
from tests.powercut.states import Chooser
from tests.projects import Disk
from tests.web import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.drills.running import Ended, Runner
    from tests.drills.trees import Tree
    from tests.powercut.history import Operation
    from tests.powercut.recording import Recorder
    from tests.powercut.scenes import Scene
    from tests.powercut.states import State

SEED = "bangerbuild"
MOST_WITHOUT = 90
"""At how many states it is looked for one that a sync prevents."""
SUFFIXES = (".ext4", ".cow", ".qcow2")


class BrokenError(AssertionError):
    """A state from which a run does not come to the right end."""


@dataclass
class PowerCut:
    """A scene that is recorded once.

    Args:
        scene: which one.
        recorder: records.
        runner: runs.
        project: an empty directory, in which all of it happens.
    """

    scene: Scene
    recorder: Recorder
    runner: Runner
    project: Path
    judged: set[tuple[str, str]] = field(default_factory=set)
    """Disks that were found good, by digest."""
    verified: set[object] = field(default_factory=set)
    """Stores that `verify` found good."""
    seen: set[int] = field(default_factory=set)
    """States that were looked at, by what tells them from others."""

    def prepare(self, address: str) -> None:
        """Record the run, and see what it leaves.

        Args:
            address: a server of what the scene puts into the directory `www` beside the project.
        """
        self.scene.prepare(self.project, self.runner, address)
        self.history = History(self.project)
        with self.recorder.recording(self.project, shares=self.scene.shares) as records:
            ended = self.runner.run(*self.scene.arguments, project=self.project)
        ended.assert_done()
        self.history.follow(records)
        self.assert_followed()
        self.chooser = Chooser(self.history, f"{SEED} {self.scene.name}")
        self.names = [*names(self.project), *tops(self.project)]
        self.files = {name: (self.project / name).read_bytes() for name in self.scene.files}
        self.disks = {disk: self.found(disk) for disk in self._disks()}
        for disk, expected in (self.scene.disks or {}).items():
            assert not differences(self.disks[disk][0], expected)

    def assert_followed(self) -> None:
        """The log leads from what was there before to what the run has left, byte for byte."""
        found = History(self.project).now()
        followed = self.history.now()
        assert sorted(found) == sorted(followed)
        for path, expected in found.items():
            if isinstance(expected, Content):
                there = followed[path]
                assert isinstance(there, Content)
                assert path.endswith("-shm") or there.key() == expected.key(), path

    def _disks(self) -> list[str]:
        top = self.project / "build" / "vms"
        return [str(path.relative_to(top)) for path in sorted(top.rglob("*")) if path.suffix in SUFFIXES]

    def found(self, disk: str) -> tuple[Tree, str]:
        """What is on a disk, which e2fsck finds clean, and how many blocks it has."""
        path = raw_of(self.project, disk, self.project.with_name("merged.ext4"))
        assert_clean(path)
        return tree(path), Disk(path).superblock("Block count")

    def digest(self, disk: str) -> str:
        """What tells the bytes of a disk from others, those of its base included."""
        return digest_of(self.project, disk)

    def enter(self, state: State) -> None:
        """Bring the project to a state."""
        for name in {path.name for path in self.project.iterdir()} & {
            *self.history.changed_tops,
            "build",
            ".cache",
        }:
            place = self.project / name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink()
        self.recorder.say(state.make(self.project))

    def try_state(self, number: int) -> bool:
        """Look at the state of a number; False if one like it was looked at."""
        state = self.chooser.choose(number)
        if state.key() in self.seen:
            return False
        self.seen.add(state.key())
        self.run_from(state, f"{self.scene.name} {number}")
        return True

    def finds(self, is_left_out: Callable[[Operation], bool]) -> str | None:
        """What is wrong where some syncs are not made; None if no state that was looked at is broken."""
        assert any(map(is_left_out, self.history.operations)), "there is no such sync"
        seen: set[int] = set()
        for number in range(MOST_WITHOUT):
            state = self.chooser.choose_without(number, is_left_out)
            if state is None or state.key() in seen:
                continue
            seen.add(state.key())
            try:
                self.run_from(state, f"{self.scene.name} without {number}")
            except BrokenError as err:
                return str(err)
        return None

    def run_from(self, state: State, name: str) -> None:
        """Run the scene to its end from a state.

        Raises:
            BrokenError: that did not lead to where it should.
        """
        self.enter(state)
        with _noting(f"{name}: {state}"):
            if state.cut == self.history.end:
                ended = self.runner.run(*self.scene.once_more, project=self.project)
                ended.assert_done()
                pattern = self.scene.nothing_lost or self.scene.nothing_to_do
                assert pattern.fullmatch(ended.output), ("after the end", ended.output, ended.errors)
            else:
                self.runner.run(*self.scene.arguments, project=self.project).assert_done()
            self.judge()
            before = stats(self.project)
            ended = self.runner.run(*self.scene.once_more, project=self.project)
            ended.assert_done()
            self.assert_nothing_done(ended)
            assert stats(self.project) == before
            self.verify()

    def assert_nothing_done(self, ended: Ended) -> None:
        """A run found nothing to do."""
        assert self.scene.nothing_to_do.fullmatch(ended.output), (ended.output, ended.errors)

    def judge(self) -> None:
        """All is as after a run without a cut."""
        found = [*names(self.project), *tops(self.project)]
        assert found == self.names, sorted({*found} ^ {*self.names})
        assert {name: (self.project / name).read_bytes() for name in self.files} == self.files
        for disk, (expected, blocks) in self.disks.items():
            key = (disk, self.digest(disk))
            if key in self.judged:
                continue
            on_it, found_blocks = self.found(disk)
            wrong = differences(on_it, expected)
            assert not wrong, "\n".join((disk, *wrong))
            assert found_blocks == blocks, f"{disk} has {found_blocks} blocks instead of {blocks}"
            if disk in self.scene.theirs:
                for name in SENTINEL:
                    assert on_it[name].ino == expected[name].ino, f"{name} on {disk} was made anew"
            self.judged.add(key)

    def verify(self) -> None:
        """`verify` finds nothing wrong."""
        key = (tuple(map(self.digest, self.disks)), remembered(self.project))
        if key not in self.verified:
            ended = self.runner.run(*self.scene.verify, project=self.project)
            assert ended.code == 0, (ended.output.decode(), ended.errors)
            self.verified.add(key)


@contextmanager
def prepared(scene: Scene, recorder: Recorder, runner: Runner, directory: Path) -> Iterator[PowerCut]:
    """A scene in an empty directory, recorded, until the end of the with block."""
    www, project = directory / "www", directory / "project"
    www.mkdir()
    project.mkdir()
    with serving(www) as web:
        drill = PowerCut(scene, recorder, runner, project)
        drill.prepare(web.address)
        yield drill


@contextmanager
def _noting(what: str) -> Iterator[None]:
    """What a test fails with names the state."""
    try:
        yield
    except AssertionError as err:
        raise BrokenError(f"{what}\n{err}") from err


def tops(project: Path) -> list[str]:
    """The names in a project's directory, with that of its cache."""
    return sorted({".cache", *(path.name for path in project.iterdir())})


def stats(project: Path) -> Mapping[str, tuple[int, ...]]:
    """The files of a store but for what it keeps for itself, by what would show a change."""
    store = project / "build"
    found = {}
    for path in store.rglob("*"):
        name = str(path.relative_to(store))
        if path.is_file() and not name.startswith(("state.db", ".locks/")):
            status = path.stat()
            found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def remembered(project: Path) -> tuple[object, ...]:
    """What a store knows, but for what differs from one host to the next."""
    path = project / "build" / "state.db"
    if not path.exists():
        return ()
    asked = ("* FROM records", "* FROM files", "path, size, digest, guest FROM stamps", "body FROM intents")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return tuple(row for what in asked for row in database.execute(f"SELECT {what}"))
