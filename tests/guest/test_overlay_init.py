"""What the script does is tried in tests/boot/test_overlay.py, by machines that start with it."""

from __future__ import annotations

import subprocess

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.guest import overlay_init
from bangerbuild.tree import GuestDirectory, GuestFile
from tests.guest.view import DictView
from tests.need import need

PATH = "/sbin/init-of-ours"
PROGRAMS = ("bin/sh", "bin/mount", "bin/mkdir", "usr/bin/cat", "bin/sleep", "sbin/pivot_root")


def view(*names: str, mode: int = 0o755) -> DictView:
    paths = [f"/{name}" for name in names]
    return DictView(dict.fromkeys(paths, b""), dict.fromkeys(paths, mode))


def test_the_script_and_the_mount_points_that_the_image_lacks_are_made() -> None:
    edits = overlay_init.edits(PATH, view(*PROGRAMS, "dev/null", "proc/x"), "the image")
    *points, script = edits.changes
    assert points == [GuestDirectory("/sys"), GuestDirectory("/run")]
    assert isinstance(script, GuestFile)
    assert (script.path, script.mode, script.content) == (PATH, 0o755, overlay_init.script().encode())


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_image_that_lacks_a_program_is_refused_by_the_programs_name(name: str) -> None:
    there = view(*(one for one in PROGRAMS if one != name))
    shown = name if name == "bin/sh" else name.rpartition("/")[2]
    with pytest.raises(
        SourceError, match=f"'the image' has no '/?{shown}', which overlay_init needs"
    ) as caught:
        overlay_init.edits(PATH, there, "the image")
    assert "busybox" in str(caught.value.hint)


def test_a_file_that_nobody_may_run_is_no_program() -> None:
    with pytest.raises(SourceError, match="'/bin/sh', 'mount', 'mkdir', 'cat', 'sleep', 'pivot_root'"):
        overlay_init.edits(PATH, view(*PROGRAMS, mode=0o644), "the image")


@pytest.mark.parametrize(
    ("shell", "package"), [("sh", "dash"), ("bash", "bash"), ("busybox", "busybox-static")]
)
def test_shells_take_the_script(shell: str, package: str) -> None:
    command = [need(shell, package), *(("sh",) if shell == "busybox" else ()), "-n"]
    done = subprocess.run(command, input=overlay_init.script(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_says_in_one_line_that_it_is_for_process_1_only() -> None:
    done = subprocess.run(
        [need("sh")], input=overlay_init.script(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("bangerbuild-overlay-init: this is process ")
