"""One scene, drilled: killed or made to fail at some call, looked at, run to its end, and judged.

A disk that has the bytes of one already judged is not judged again.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.disk import clone
from tests.disk.ext4_tools import assert_clean
from tests.drills.scenes import DISKS, SENTINEL, base_of
from tests.drills.trees import differences, tree
from tests.need import need
from tests.steps.building import merge

if TYPE_CHECKING:
    from pathlib import Path

    from tests.drills.calls import Hit
    from tests.drills.running import Ended, Runner
    from tests.drills.scenes import Scene

LOOKED_AT = {
    "snap/root.cow": "/etc/app.conf",
    "raw/root.ext4": "/etc/app.conf",
    "snap/work.ext4": "/.config/tool",
    "raw/work.ext4": "/.config/tool",
    "raw/data.ext4": "/readme",
}
"""A declared file of each disk."""


@dataclass
class Drill:
    """A scene that is prepared once and run many times, each time in a copy."""

    scene: Scene
    runner: Runner
    directory: Path
    judged: set[tuple[str, str]] = field(default_factory=set)
    """Digests of what was found good, by disk."""

    def __post_init__(self) -> None:
        self.prepared = self.directory / "prepared"
        self.prepared.mkdir()
        self.scene.prepare(self.prepared, self.runner)
        self.inodes = {
            disk: {path: tree(self.raw(self.prepared, disk))[path].ino for path in SENTINEL}
            for disk in self.scene.theirs
        }
        self.old = self.looked_at(self.prepared)
        done = self.copy()
        ended = self.runner.run(*self.scene.arguments, project=done)
        ended.assert_done()
        self.counts = ended.seen.counts
        self.names = names(done)
        self.new = self.looked_at(done)
        self.judge(done)

    def copy(self) -> Path:
        """The prepared project once more."""
        target = self.directory / "copy"
        shutil.rmtree(target, ignore_errors=True)
        command = [need("cp", "coreutils"), "-a", "--reflink=auto", "--sparse=always"]
        subprocess.run([*command, str(self.prepared), str(target)], check=True)
        return target

    def raw(self, project: Path, disk: str) -> Path:
        """A disk as one raw file."""
        path = project / "build" / "vms" / disk
        if path.suffix != ".cow":
            return path
        return merge(base_of(project, disk), path, self.directory / "merged.ext4")

    def looked_at(self, project: Path) -> dict[str, bytes]:
        """What `cat` prints of each disk that is there."""
        said = {}
        for disk, path in LOOKED_AT.items():
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

    def kill(self, hit: Hit) -> bool:
        """Kill a run, look, and run it to its end; False if it ended before that call.

        Raises:
            AssertionError: with a note that names the call.
        """
        project, ended = self.run(hit)
        if not ended.was_killed:
            ended.assert_done()
            return False
        try:
            self.look(project)
            self.finish(project)
        except AssertionError as err:
            err.add_note(f"killed before {'/'.join(hit.kinds)} {hit.at}: {ended.seen.hit}")
            raise
        return True

    def look(self, project: Path) -> None:
        """Whoever looks meanwhile sees the old or the new, touches nothing, and is told no traceback."""
        before = contents(project)
        self.runner.run("plan", project=project).assert_done()
        for disk, said in self.looked_at(project).items():
            assert said in {self.old.get(disk), self.new[disk]}, f"{disk} has {said!r}"
        for disk in self.old:
            assert (project / "build" / "vms" / disk).exists(), f"{disk} is gone"
        assert contents(project) == before

    def finish(self, project: Path) -> None:
        """The next run does what is left, and the one after it nothing."""
        self.runner.run(*self.scene.arguments, project=project).assert_done()
        self.judge(project)
        before = artifacts(project)
        self.runner.run("apply", project=project).assert_done()
        assert artifacts(project) == before
        planned = self.runner.run("plan", "--detailed-exitcode", project=project)
        assert planned.code == 0, planned.output.decode()

    def judge(self, project: Path) -> None:
        """Every disk is whole, holds what is declared and what its guest wrote; nothing else is left."""
        assert names(project) == self.names
        expected = self.scene.disks()
        for disk in DISKS:
            path = project / "build" / "vms" / disk
            base = base_of(project, disk) if path.suffix == ".cow" else path
            bytes_of_it = (disk, clone.digest(path) + clone.digest(base))
            if bytes_of_it in self.judged:
                continue
            raw = self.raw(project, disk)
            assert_clean(raw)
            found = tree(raw)
            wrong = differences(found, expected[disk])
            assert not wrong, "\n".join((disk, *wrong))
            for name, ino in self.inodes.get(disk, {}).items():
                assert found[name].ino == ino, f"{name} on {disk} was made anew"
            self.judged.add(bytes_of_it)


def names(project: Path) -> list[str]:
    """The paths of all that lies in a store but its locks."""
    store = project / "build"
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if ".locks" not in path.parts)


def artifacts(project: Path) -> dict[str, object]:
    """The same without what the store keeps for itself: it learns of other inodes, and who locked it."""
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
