"""One scene, drilled: killed or made to fail at some call, looked at, run to its end, and judged.

A disk that has the bytes of one already judged is not judged again.
"""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.disk import clone
from tests.disk.ext4_tools import assert_clean
from tests.disk.qemu_img import checked, converted
from tests.drills.scenes import SENTINEL, THIN, base_of
from tests.drills.trees import differences, joined, tree
from tests.need import need
from tests.projects import merge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.drills.calls import Hit
    from tests.drills.running import Ended, Runner
    from tests.drills.scenes import Scene
    from tests.drills.trees import Tree

LOOKED_AT = {
    "snap/root.cow": "/etc/app.conf",
    "raw/root.ext4": "/etc/app.conf",
    "snap/work.ext4": "/.config/tool",
    "raw/work.ext4": "/.config/tool",
    "raw/data.ext4": "/readme",
    **dict.fromkeys(THIN.values(), "/etc/app.conf"),
}
"""A declared file of each disk."""

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
TOLD = re.compile(r"^(?:error:|  failed ) *(.*)", re.MULTILINE)
BY_HALF = re.compile(r"'vms/(\S+)' (?:is changed|is grown|was left) by half")
BESIDE = (".redo", ".grow", ".undo")
"""What lies beside a disk that is changed by half."""
NOTHING_DONE = re.compile(rb"\d+ kept in [\d.]+ s\n")


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 1 to count, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(index * (count - 1) / (most - 1)) for index in range(most)})


@dataclass
class Drill:
    """A scene that is prepared once and run many times, each time in a copy."""

    scene: Scene
    runner: Runner
    directory: Path
    judged: set[tuple[str, str]] = field(default_factory=set)
    """What was found good after a run, by disk and digest."""

    def __post_init__(self) -> None:
        self.prepared = self.directory / "prepared"
        self.prepared.mkdir()
        self.scene.prepare(self.prepared, self.runner)
        self.old = {disk: self.tree(self.prepared, disk) for disk in self.disks if self.scene.before}
        self.unchanged = {(disk, self.digest(self.prepared, disk)) for disk in self.old}
        self.said_before = self.looked_at(self.prepared)
        done = self.copy()
        ended = self.runner.run(*self.scene.arguments, project=done)
        ended.assert_done()
        self.counts = ended.seen.counts
        self.names = names(done)
        self.said_after = self.looked_at(done)
        self.judge(done)

    @property
    def disks(self) -> tuple[str, ...]:
        """All disks of the scene."""
        return tuple(self.scene.after.disks())

    def copy(self) -> Path:
        """The prepared project once more."""
        return copied(self.prepared, self.directory / "copy")

    def raw(self, project: Path, disk: str) -> Path:
        """A disk as one raw file."""
        return raw_of(project, disk, self.directory / "merged.ext4")

    def tree(self, project: Path, disk: str) -> Tree:
        """What is on a disk, which e2fsck finds clean."""
        raw = self.raw(project, disk)
        assert_clean(raw)
        found = tree(raw)
        return joined(tree(base_of(project, disk)), found, raw) if disk == THIN["overlay"] else found

    def digest(self, project: Path, disk: str) -> str:
        """What tells the bytes of a disk from others, those of its base included."""
        return digest_of(project, disk)

    def looked_at(self, project: Path) -> dict[str, bytes]:
        """What `cat` prints of each disk that is there."""
        said = {}
        for disk in self.disks:
            path = LOOKED_AT[disk]
            ended = self.runner.run("cat", f"build/vms/{disk}", path, project=project)
            ended.assert_done(0, 3)
            if ended.code == 0:
                said[disk] = ended.output
            else:
                assert f"there is no disk 'build/vms/{disk}'" in ended.errors, ended.errors
        return said

    def run(self, hit: Hit) -> tuple[Path, Ended]:
        """Run the scene in a copy, and hit it."""
        project = self.copy()
        return project, self.runner.run(*self.scene.arguments, project=project, hit=hit)

    def kill(self, hit: Hit) -> None:
        """Kill a run, look, and have the next one finish it."""
        project, ended = self.run(hit)
        with _noting(hit, ended):
            if ended.was_killed:
                self.look(project)
            else:  # jobs run in threads: now and then a call less is made
                ended.assert_done()
                assert not ended.seen.hit
            self.finish(project)

    def fail(self, hit: Hit) -> None:
        """Let a call fail: it is said in one plain message, nothing has changed, and the next run works."""
        project, ended = self.run(hit)
        with _noting(hit, ended):
            ended.assert_done(0, 1)
            if ended.code == 0:  # it could do without
                assert not TOLD.findall(ended.errors), ended.errors
            else:  # of a disk that stays full the store's own memory tells too
                assert 1 <= len(TOLD.findall(ended.errors)) <= 1 + hit.lasting, ended.errors
                self.assert_old_or_new(project, set(BY_HALF.findall(ended.errors)))
            self.look(project)
            self.finish(project)

    def assert_old_or_new(self, project: Path, by_half: set[str]) -> None:
        """Each disk is as it was or as it shall be, but for one that has its log beside it, as was said."""
        for disk in by_half:
            beside = [project / "build" / "vms" / f"{disk}{suffix}" for suffix in BESIDE]
            assert any(path.exists() for path in beside), disk
        for disk in self.old.keys() - by_half:
            key = (disk, self.digest(project, disk))
            if key in self.unchanged | self.judged:
                continue
            found = self.tree(project, disk)  # checked by e2fsck before it was to be grown, perhaps
            wrong = differences(found, self.old[disk])
            assert not wrong, "\n".join((disk, *wrong))
            self.unchanged.add(key)

    def look(self, project: Path) -> None:
        """Whoever looks meanwhile sees the old or the new, touches nothing, and is told no traceback."""
        before = contents(project)
        self.runner.run("plan", project=project).assert_done()
        for disk, said in self.looked_at(project).items():
            assert said in {self.said_before.get(disk), self.said_after[disk]}, f"{disk} has {said!r}"
        for disk in self.said_before:
            assert (project / "build" / "vms" / disk).exists(), f"{disk} is gone"
        assert contents(project) == before

    def finish(self, project: Path) -> None:
        """The next run does what is left, and the one after it nothing."""
        self.runner.run(*self.scene.arguments, project=project).assert_done()
        self.judge(project)
        before = artifacts(project)
        again = self.runner.run("apply", project=project)
        again.assert_done()
        assert NOTHING_DONE.fullmatch(again.output), again.errors
        assert artifacts(project) == before

    def judge(self, project: Path) -> None:
        """Every disk is whole, holds what is declared and what its guest wrote; nothing else is left."""
        assert names(project) == self.names
        expected = self.scene.disks()
        for disk in self.disks:
            key = (disk, self.digest(project, disk))
            if key in self.judged:
                continue
            found = self.tree(project, disk)
            wrong = differences(found, expected[disk])
            assert not wrong, "\n".join((disk, *wrong))
            if disk in self.scene.theirs:
                for name in SENTINEL:
                    assert found[name].ino == self.old[disk][name].ino, f"{name} on {disk} was made anew"
            self.judged.add(key)


def raw_of(project: Path, disk: str, target: Path) -> Path:
    """A disk as one raw file; one that stands on an image is merged into `target`."""
    path = project / "build" / "vms" / disk
    if path.suffix == ".qcow2":
        checked(path)
        return converted(path, target)
    return merge(base_of(project, disk), path, target) if path.suffix == ".cow" else path


def digest_of(project: Path, disk: str) -> str:
    """What tells the bytes of a disk from others, those of its base included."""
    path = project / "build" / "vms" / disk
    stands_alone = path.suffix == ".ext4" and disk != THIN["overlay"]
    under = "" if stands_alone else clone.digest(base_of(project, disk))
    return clone.digest(path) + under


def copied(project: Path, target: Path) -> Path:
    """A project once more, in place of what was there."""
    shutil.rmtree(target, ignore_errors=True)
    command = [need("cp", "coreutils"), "-a", "--reflink=auto", "--sparse=always"]
    subprocess.run([*command, str(project), str(target)], check=True)
    return target


@contextmanager
def _noting(hit: Hit, ended: Ended) -> Iterator[None]:
    """What a test fails with names the call."""
    try:
        yield
    except BaseException as err:
        what = f"error {hit.error}{' and ever after' if hit.lasting else ''}" if hit.error else "SIGKILL"
        err.add_note(f"{what} at {'/'.join(hit.kinds)} {hit.at}: {ended.seen.hit}\n{ended.errors}")
        raise


def names(project: Path) -> list[str]:
    """The paths of all that lies in a store but its locks."""
    store = project / "build"
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if ".locks" not in path.parts)


def artifacts(project: Path) -> dict[str, object]:
    """The contents without what the store keeps for itself: it learns of other inodes, and who locked it."""
    return {
        path: found
        for path, found in contents(project).items()
        if not path.startswith(("state.db", ".locks/"))
    }


def contents(project: Path) -> dict[str, object]:
    """All that lies in a store, by what would show a change; but for what SQLite's readers share."""
    store = project / "build"
    found: dict[str, object] = {}
    for path in store.rglob("*"):
        if path.is_file() and path.name != "state.db-shm":
            status = path.stat()
            found[str(path.relative_to(store))] = (status.st_mtime_ns, status.st_size, clone.digest(path))
    return found
