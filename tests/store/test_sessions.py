"""Several writers of one store at once: nobody waits without need, and nobody takes what is another's."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from bangerbuild import store
from bangerbuild.errors import BusyError
from bangerbuild.store import database as db
from bangerbuild.store import locks, sessions
from bangerbuild.store.directories import LOCKS, STAGING
from bangerbuild.store.publishing import Publication
from tests import PROJECT
from tests.projects import DEBIAN, write_tar
from tests.steps.guest_disks import IMAGE
from tests.store.test_contents import OTHER, ROOT, publish, staged, standing
from tests.stores import is_as_published
from tests.waiting import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from types import TracebackType


PAUSE = """\
import sys
from pathlib import Path
path = Path(sys.argv[1])
def pause(what):
    print(what, flush=True)
    sys.stdin.readline()
"""
PUBLISHING = f"""{PAUSE}
from bangerbuild import store
from bangerbuild.store import Store
from tests.store.test_contents import staged
rename, confirm = Store._rename, Store._confirm
def paused(name, method):
    def run(*args):
        pause(name)
        return method(*args)
    return run
Store._rename, Store._confirm = paused("rename", rename), paused("confirm", confirm)
with store.writing(path, timeout_seconds=60) as opened:
    opened.publish(staged(opened, {{sys.argv[2]: "new"}}))
"""
"""Publishes an artifact, and waits before it renames it, and before it confirms that."""
APPLYING = f"""{PAUSE}
from bangerbuild.steps import patching
make = patching.make
def slowly(*args):
    pause("patching")
    patching.make = make
    make(*args)
patching.make = slowly
from bangerbuild.cli import run
sys.argv[1:2] = ["apply"]
sys.exit(run())
"""
"""`bangerbuild apply` that waits once, before it patches the first disk."""


@dataclass
class Program:
    """Another process that does what it is told, and waits at some places until it may go on."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, code: str, *arguments: str | Path, cwd: Path = PROJECT) -> Self:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        pipe = subprocess.PIPE
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        return cls(
            subprocess.Popen(
                command, cwd=cwd, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
            )
        )

    def reach(self, place: str) -> Self:
        """Wait until it waits there."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == f"{place}\n":
                return self
        raise AssertionError(f"it did not come to {place}: {self.process.communicate()[1]}")

    def go_on(self) -> Self:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self

    def end(self) -> str:
        """Let it run to its end; what it said on both streams."""
        out, errors = self.process.communicate("\n\n\n", timeout=PATIENCE_SECONDS)
        assert self.process.returncode == 0, errors
        return out + errors

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build"


def intents(path: Path) -> list[str]:
    """The sessions that are publishing."""
    with contextlib.closing(sqlite3.connect(path / "state.db")) as database:
        return [session for session, _ in db.intents(database)]


def staging(path: Path) -> set[str]:
    return {directory.name for directory in (path / STAGING).iterdir()}


def work_a_little(path: Path) -> None:
    """A writer that comes and goes, and sweeps on the way."""
    with store.writing(path, timeout_seconds=0):
        pass


# publishing beside others


@pytest.mark.parametrize("place", ["rename", "confirm"])
def test_the_intents_of_a_living_session_are_never_withdrawn_by_another(path: Path, place: str) -> None:
    publish(path, {ROOT: "old"})
    with Program.start(PUBLISHING, path, ROOT).reach("rename") as program:
        if place == "confirm":
            program.go_on().reach("confirm")
        before = intents(path), staging(path)
        assert len(before[0]) == 1
        work_a_little(path)
        publish(path, {OTHER: "theirs"})
        assert (intents(path), staging(path)) == before
        program.end()
    assert intents(path) == []
    assert standing(store.read(path), ROOT) == "new"
    assert standing(store.read(path), OTHER) == "theirs"


@pytest.mark.parametrize(("place", "text"), [("rename", "old"), ("confirm", "new")])
def test_what_a_killed_session_was_publishing_is_settled_by_the_next_while_a_third_lives(
    path: Path, place: str, text: str
) -> None:
    publish(path, {ROOT: "old", OTHER: "old"})
    with (
        Program.start(PUBLISHING, path, ROOT).reach("rename") as killed,
        Program.start(PUBLISHING, path, OTHER).reach("rename") as living,
    ):
        if place == "confirm":
            killed.go_on().reach("confirm")
        both = staging(path)
        killed.kill()
        work_a_little(path)
        (own,) = staging(path)
        assert {own} < both
        assert intents(path) == [own]
        assert standing(store.read(path), ROOT) == text
        assert standing(store.read(path), OTHER) == "old"
        living.end()
    assert standing(store.read(path), OTHER) == "new"
    assert staging(path) == set()


def test_a_session_that_ends_while_another_sweeps_is_no_trouble(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_a_little(path)
    (path / STAGING / "leaving").mkdir()

    def just_gone(name: str, *, dir_fd: int) -> bool:
        (path / STAGING / name).rmdir()
        return locks.is_abandoned(name, dir_fd=dir_fd)

    monkeypatch.setattr(sessions, "is_abandoned", just_gone)
    work_a_little(path)
    assert staging(path) == set()


def test_a_directory_that_goes_before_it_is_looked_at_is_no_trouble(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_a_little(path)
    (path / STAGING / "leaving").mkdir()
    listdir = os.listdir

    def stale(directory: int) -> list[str]:
        found = listdir(directory)
        if "leaving" in found:
            os.rmdir("leaving", dir_fd=directory)
        return [*{*found, "leaving"}]

    monkeypatch.setattr(os, "listdir", stale)
    work_a_little(path)
    monkeypatch.undo()
    assert staging(path) == set()


def test_all_threads_of_a_session_stage_in_one_directory_and_each_has_a_room_in_it(path: Path) -> None:
    rooms = set[Path]()
    with store.writing(path, timeout_seconds=0) as opened:
        together = threading.Barrier(8)

        def stage() -> None:
            together.wait()
            rooms.add(opened.staged("a/b").parent)

        threads = [threading.Thread(target=stage) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(rooms) == 8
        assert staging(path) == {room.parent.name for room in rooms}
        assert len(staging(path)) == 1
    assert staging(path) == set()


RACING = f"""{PAUSE}
from bangerbuild import store
from tests.store.test_contents import staged
pause("ready")
with store.writing(path, timeout_seconds={PATIENCE_SECONDS}) as opened:
    opened.publish(staged(opened, {{sys.argv[2]: "made by " + sys.argv[2]}}))
"""


def test_many_may_make_a_store_at_the_same_time(path: Path) -> None:
    artifacts = [f"vms/{name}/root.cow" for name in "abcdef"]
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(Program.start(RACING, path, artifact)) for artifact in artifacts]
        for program in programs:
            program.reach("ready")
        for program in programs:
            program.go_on()
        for program in programs:
            program.end()
    opened = store.read(path)
    assert [standing(opened, artifact) for artifact in artifacts] == [f"made by {name}" for name in artifacts]


def test_one_who_wants_to_be_alone_waits_for_all_and_keeps_all_out(path: Path) -> None:
    with store.writing(path, timeout_seconds=0), pytest.raises(BusyError, match=r"the store .* is locked"):
        open_alone(path)
    with store.writing(path, timeout_seconds=0, exclusive=True), pytest.raises(BusyError):
        work_a_little(path)
    open_alone(path)


def open_alone(path: Path) -> None:
    with store.writing(path, timeout_seconds=0, exclusive=True):
        pass


# what one knows of what another did


def test_a_lock_that_was_free_and_a_store_that_nobody_changed_need_no_second_look(path: Path) -> None:
    publish(path, {ROOT: "one"})
    with store.writing(path, timeout_seconds=0) as opened:
        assert not opened.lock(["vm.web"])
        assert opened.locked == {"vm.web"}
        assert not opened.lock(["vm.web"])
        assert not opened.lock([])


def test_a_store_that_was_changed_before_the_lock_was_had_is_read_again(path: Path) -> None:
    publish(path, {ROOT: "one"})
    with store.writing(path, timeout_seconds=0) as opened:
        publish(path, {ROOT: "two"})
        assert opened.lock(["vm.web"])
        assert standing(opened, ROOT) == "two"
        publish(path, {OTHER: "theirs"})
        assert not opened.lock(["vm.web"])  # nobody can have changed what it holds
        assert opened.lock(["vm.web", "vm.db"])
        assert standing(opened, OTHER) == "theirs"


def test_a_lock_that_was_waited_for_is_reason_to_look_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had it may have been killed in the middle of a patch, which no record tells."""
    with store.writing(path, timeout_seconds=60) as opened, store.writing(path, timeout_seconds=0) as other:
        other.lock(["vm.web"])
        monkeypatch.setattr(time, "sleep", lambda _: other._writing().owners.close())
        assert opened.lock(["vm.web"])


def test_what_a_reader_saw_does_not_overwrite_what_another_has_published_since(path: Path) -> None:
    publish(path, {ROOT: "one"})
    (path / ROOT).write_text("a guest's")
    os.utime(path / ROOT, (1, 1))
    with store.writing(path, timeout_seconds=0) as opened:
        opened.record_inspected(ROOT, (path / ROOT).stat())
        publish(path, {ROOT: "two"})
    assert standing(store.read(path), ROOT) == "two"


def test_what_was_seen_is_remembered_where_nobody_came_between(path: Path) -> None:
    publish(path, {ROOT: "one"})
    (path / ROOT).write_text("a guest's")
    os.utime(path / ROOT, (1, 1))
    with store.writing(path, timeout_seconds=0) as opened:
        opened.record_inspected(ROOT, (path / ROOT).stat())
    assert is_as_published(store.read(path), ROOT)
    assert store.read(path).modified(ROOT)


def test_a_disk_that_was_changed_and_then_replaced_has_the_stamp_of_the_new_one(path: Path) -> None:
    publish(path, {ROOT: "one"})
    with store.writing(path, timeout_seconds=0) as opened:
        (job,) = staged(opened, {ROOT: "two"})
        changed = {ROOT: opened.stamps[ROOT]}
        both = store.Staged(job.records, job.files, changed=changed)
        assert Publication.of(both).stamps[ROOT].inode == job.files[ROOT].stat().st_ino
        opened.publish([both])
        assert is_as_published(opened, ROOT)


# apply beside apply

VMS = IMAGE + "".join(f'[vm.{name}]\nimage = "debian"\nhostname = "OLD-{name}"\n' for name in ("web", "db"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two VMs that are built, and another host name for each."""
    write_tar(tmp_path / "root.tar", DEBIAN)
    (tmp_path / "vm.toml").write_text(VMS.replace("OLD", "first"))
    apply(tmp_path)
    (tmp_path / "vm.toml").write_text(VMS.replace("OLD", "second"))
    return tmp_path


def apply(project: Path, *arguments: str) -> str:
    """A plain apply that has to work; what it said."""
    command = [sys.executable, "-m", "bangerbuild", "apply", *arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def did_nothing(said: str) -> bool:
    return " kept in " in said and " done" not in said


def hostname(project: Path, vm: str) -> str:
    command = [sys.executable, "-m", "bangerbuild", "cat", f"vms/{vm}/root.cow", "/etc/hostname"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        command, cwd=project / "build", env=environment, capture_output=True, text=True, check=True
    ).stdout


def paused_apply(project: Path, vm: str) -> Program:
    """An apply for one VM that waits where it patches it."""
    return Program.start(APPLYING, "-", "-j1", "--target", f"vm.{vm}", cwd=project).reach("patching")


def waits_for(program: Program, lock: Path) -> bool:
    """Whether it has the lock's file open."""
    with contextlib.suppress(FileNotFoundError):
        fds = Path(f"/proc/{program.process.pid}/fd").iterdir()
        return any(link.readlink() == lock for link in fds if link.is_symlink())
    return False


def test_two_vms_are_changed_at_once_by_two_applies(project: Path) -> None:
    with paused_apply(project, "web") as first:
        assert "vm.db.root.patch" in apply(project, "--target", "vm.db")
        assert hostname(project, "db") == "second-db\n"
        assert first.process.poll() is None
        first.end()
    assert hostname(project, "web") == "second-web\n"
    assert did_nothing(apply(project))


def test_a_second_apply_of_the_same_vm_waits_and_then_has_nothing_to_do(project: Path) -> None:
    with (
        paused_apply(project, "web") as first,
        Program.start(APPLYING, "-", "--target", "vm.web", cwd=project) as second,
    ):
        eventually(lambda: waits_for(second, project / "build" / LOCKS / "vm.web"))
        assert second.process.poll() is None
        first.end()
        assert did_nothing(second.end())
    assert hostname(project, "web") == "second-web\n"


def test_a_second_apply_that_will_not_wait_ends_with_4_and_who_is_at_it(project: Path) -> None:
    with paused_apply(project, "web") as first:
        command = [sys.executable, "-m", "bangerbuild", "apply", "--lock-timeout", "0"]
        environment = os.environ | {"PYTHONPATH": str(PROJECT)}
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 4
        assert f"'vm.web' is locked by process {first.process.pid}" in done.stderr
        first.end()


def test_a_killed_apply_is_swept_by_the_next_while_a_third_lives(project: Path) -> None:
    with paused_apply(project, "web") as killed, paused_apply(project, "db") as living:
        assert len(staging(project / "build")) == 2
        killed.kill()
        apply(project, "--target", "vm.web")
        assert hostname(project, "web") == "second-web\n"
        assert len(staging(project / "build")) == 1
        assert living.process.poll() is None
        living.end()
    assert hostname(project, "db") == "second-db\n"
    assert staging(project / "build") == set()


def test_an_apply_that_waited_for_a_killed_one_does_its_work(project: Path) -> None:
    with (
        paused_apply(project, "web") as first,
        Program.start(APPLYING, "-", "--target", "vm.web", cwd=project) as second,
    ):
        eventually(lambda: waits_for(second, project / "build" / LOCKS / "vm.web"))
        first.kill()
        second.end()
    assert hostname(project, "web") == "second-web\n"
    assert did_nothing(apply(project, "--target", "vm.web"))


def test_applies_that_begin_at_once_make_a_shared_image_once(tmp_path: Path) -> None:
    write_tar(tmp_path / "root.tar", DEBIAN)
    names = ("a", "b", "c", "d")
    (tmp_path / "vm.toml").write_text(IMAGE + "".join(f'[vm.{name}]\nimage = "debian"\n' for name in names))
    code = "import sys; from bangerbuild.cli import run; sys.exit(run())"
    with contextlib.ExitStack() as stack:
        programs = [
            stack.enter_context(Program.start(code, "apply", "--target", f"vm.{name}", cwd=tmp_path))
            for name in names
        ]
        said = [program.end() for program in programs]
    assert sum("create  image.debian.rootfs" in text for text in said) == 1
    assert did_nothing(apply(tmp_path))
    assert {hostname(tmp_path, name) for name in names} == {f"{name}\n" for name in names}
