from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats import hostfile
from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.oci.layout_files import DirectoryLayout
from bangerbuild.host import observed, process
from bangerbuild.host.home import expanded
from bangerbuild.host.observed import Observations
from bangerbuild.resolving import lockfile


@pytest.fixture
def seen() -> Observations[int]:
    """Keeps the size that each path had."""
    return Observations(lambda found: found.st_size)


def test_what_is_looked_at_while_somebody_records_is_noted_with_its_stat(
    seen: Observations[int], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("12345")
    with seen.recording():
        observed.look(tmp_path / "file")
        observed.look(tmp_path / "absent")
        observed.look(tmp_path / "file/below")
    observed.look(tmp_path)
    assert seen.followed == {
        str(tmp_path / "file"): 5,
        str(tmp_path / "absent"): None,
        str(tmp_path / "file/below"): None,
    }
    assert seen.is_complete


def test_the_first_look_counts(seen: Observations[int], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    with seen.recording():
        observed.look(tmp_path / "file")
        observed.note_link(tmp_path, "file", (tmp_path / "file").lstat())
    (tmp_path / "file").write_text("12345")
    with seen.recording():
        observed.look(tmp_path / "file")
        observed.note_link(tmp_path, "file", (tmp_path / "file").lstat())
    assert list(seen.followed.values()) == list(seen.links.values()) == [1]


def test_what_can_not_be_looked_at_is_told(seen: Observations[int], tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with seen.recording():
        observed.look(tmp_path / "loop")
    assert not seen.is_complete


def test_other_threads_and_other_recorders_do_not_count(seen: Observations[int], tmp_path: Path) -> None:
    inner = Observations(lambda found: found.st_size)
    with seen.recording():
        thread = threading.Thread(target=observed.look, args=[tmp_path])
        thread.start()
        thread.join()
        with inner.recording():
            observed.look("/etc")
        with observed.unrecorded():
            observed.look("/usr")
        observed.look("/")
    assert list(seen.followed) == ["/"]
    assert list(inner.followed) == ["/etc"]


def test_a_recorder_is_let_go_of_when_something_fails(seen: Observations[int]) -> None:
    with pytest.raises(ZeroDivisionError), seen.recording():
        _ = 1 / 0
    observed.look("/")
    assert seen.followed == {}


def test_the_functions_that_read_the_host_note_it(
    seen: Observations[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("file", "lock", "tree/below/deep", "tree/left.out", "layout/index.json", "bin/tool"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("version = 1\n")
    (tmp_path / "bin/tool").chmod(0o755)
    (tmp_path / "tree/link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "tree/fifo")
    monkeypatch.setattr(process, "SEARCH_PATH", f"{tmp_path / 'none'}:{tmp_path / 'bin'}:/bin")
    with seen.recording():
        with hostfile.opened_file(tmp_path / "file", "file"):
            pass
        lockfile.read(tmp_path / "lock")
        lockfile.read(tmp_path / "no lock")
        list(walk_directory(tmp_path / "tree", TreeRules(exclude=("*.out",), specials=False)))
        DirectoryLayout(tmp_path / "layout").size_of("index.json", "layout")
        DirectoryLayout(tmp_path / "layout").size_of("absent", "layout")
        with pytest.raises(SourceError):
            hostfile.stat_of(tmp_path / "no file", "no file")
        process.find("tool")
        expanded("~root/file")
        expanded("file")
    followed = {os.path.relpath(path, tmp_path) for path in seen.followed}
    assert followed == {
        "file",
        "lock",
        "no lock",
        "no file",
        "tree",
        "layout/index.json",
        "layout/absent",
        "none/tool",
        "bin/tool",
        os.path.relpath("/etc/passwd", tmp_path),
    }
    assert {Path(path).relative_to(tmp_path / "tree").as_posix() for path in seen.links} == {
        "below",
        "below/deep",
        "link",
    }


def test_a_directory_is_noted_as_it_was_before_it_was_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    seen = Observations(lambda found: found.st_mtime_ns)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tree", tmp_path / "tree/below")}
    listdir = os.listdir

    def meddled(fd: int) -> list[str]:
        names = listdir(fd)
        os.utime(fd, ns=(1, 1))
        return names

    monkeypatch.setattr(os, "listdir", meddled)
    with seen.recording():
        list(walk_directory(tmp_path / "tree", TreeRules()))
    assert {**seen.followed, **seen.links} == {str(path): mtime_ns for path, mtime_ns in before.items()}
