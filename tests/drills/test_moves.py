"""Killed, or failing, while a VM gets another name: it has the old one or the new one, and all of its disks.

What counts for the disks themselves is drilled in `test_scenes`; so a part of the calls will do here.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.disk.ext4_tools import assert_clean
from tests.drills.calls import Hit
from tests.drills.drill import NOTHING_DONE, TOLD, contents, copied, digest_of, names, raw_of, spread
from tests.drills.scenes import SENTINEL
from tests.drills.trees import differences, tree
from tests.powercut.scenes import prepare_move

if TYPE_CHECKING:
    from pathlib import Path

    from tests.drills.running import Runner
    from tests.drills.trees import Tree

APPLY = ("apply", "-j1")
DISKS = ("moved/root.cow", "moved/work.ext4")
MOST = {"rename": 8, "sync": 8, "write": 8}


class Moves:
    """A project that is prepared once, and run in copies."""

    def __init__(self, runner: Runner, directory: Path) -> None:
        self.runner = runner
        self.directory = directory
        self.prepared = directory / "prepared"
        self.prepared.mkdir()
        prepare_move(self.prepared, runner, "")
        done = self.copy()
        ended = runner.run(*APPLY, project=done)
        ended.assert_done()
        self.counts = ended.seen.counts
        self.names = names(done)
        self.judged: set[tuple[str, str]] = set()
        self.trees = {disk: self.tree(done, disk) for disk in DISKS}

    def copy(self) -> Path:
        return copied(self.prepared, self.directory / "copy")

    def tree(self, project: Path, disk: str) -> Tree:
        raw = raw_of(project, disk, self.directory / "merged.ext4")
        assert_clean(raw)
        return tree(raw)

    def finish(self, project: Path) -> None:
        """Who looks meanwhile changes nothing; the next run does what is left, the one after it nothing."""
        before = contents(project)
        self.runner.run("plan", project=project).assert_done()
        assert contents(project) == before
        self.runner.run(*APPLY, project=project).assert_done()
        assert names(project) == self.names
        for disk, expected in self.trees.items():
            key = disk, digest_of(project, disk)
            if key not in self.judged:
                found = self.tree(project, disk)
                wrong = differences(found, expected)
                assert not wrong, "\n".join((disk, *wrong))
                assert SENTINEL.keys() <= found.keys()
                self.judged.add(key)
        again = self.runner.run(*APPLY, project=project)
        again.assert_done()
        assert NOTHING_DONE.fullmatch(again.output), again.errors


@pytest.fixture(scope="module")
def moves(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Moves:
    return Moves(runner, tmp_path_factory.mktemp("moves"))


@pytest.mark.parametrize("kind", MOST)
def test_killed_at_any_call_nothing_is_lost_and_the_next_run_ends_it(moves: Moves, kind: str) -> None:
    assert moves.counts[kind]
    for at in spread(moves.counts[kind], MOST[kind]):
        project = moves.copy()
        moves.runner.run(*APPLY, project=project, hit=Hit((kind,), at))
        moves.finish(project)


@pytest.mark.parametrize("kind", ["rename", "sync"])
def test_where_a_call_fails_one_message_says_so_and_the_next_run_works(moves: Moves, kind: str) -> None:
    for at in spread(moves.counts[kind], 3):
        project = moves.copy()
        ended = moves.runner.run(*APPLY, project=project, hit=Hit((kind,), at, errno.EIO))
        ended.assert_done(0, 1)
        assert len(TOLD.findall(ended.errors)) == ended.code
        moves.finish(project)
