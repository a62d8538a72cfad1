"""Container images in tarballs: read where they lie, with no copy made of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.formats.oci.making import layout_of, tarball
from tests.formats.tarmaking import member
from tests.need import need
from tests.sources.building import MIB, assert_merged, built, oci

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.projects import Project


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_an_archive_of_a_container_image_gives_the_same_tree(project: Project, transport: str) -> None:
    layout = oci(project.directory)
    target = f"{transport}:{project.directory}/image.tar" + (":x:v1" if transport != "oci-archive" else ":v1")
    subprocess.run([need("skopeo"), "copy", f"oci:{layout}:v1", target], check=True, capture_output=True)
    assert_merged(built(project, f'[image.debian.rootfs]\noci = "{transport}:image.tar"\n'))
    assert not list((project.store / ".staging").iterdir())


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_importing_an_archive_takes_no_room_but_for_the_image(
    project: Project, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """Three layers write the same file, so that a copy of the archive would be three times the image."""
    layers = [tarball(member(b"big", os.urandom(24 * MIB))) for _ in range(3)]
    layout = layout_of(project.directory / "layout", *layers, tag="v1", compress=bytes)
    target = f"{transport}:{project.directory}/image.tar" + (":x:v1" if transport != "oci-archive" else ":v1")
    subprocess.run([need("skopeo"), "copy", f"oci:{layout}:v1", target], check=True, capture_output=True)
    before = allocated_bytes(project.directory)
    (project.directory / "tmp").mkdir()
    for name in ("TMPDIR", "TMP", "TEMP"):
        monkeypatch.setenv(name, str(project.directory / "tmp"))

    with most_of(lambda: allocated_bytes(project.directory)) as most:
        disk = built(project, f'[image.debian.rootfs]\noci = "{transport}:image.tar"\n')

    image = disk.path.stat().st_blocks * 512
    assert 24 * MIB < image < 34 * MIB
    assert image < max(most) - before < image + 2 * MIB


def allocated_bytes(top: Path) -> int:
    """What all files below `top` take; what is removed during the walk may be left out."""
    total = 0
    for directory, _, names in os.walk(top):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(f"{directory}/{name}").st_blocks * 512
    return total


@contextlib.contextmanager
def most_of(measure: Callable[[], int]) -> Iterator[list[int]]:
    """What is measured again and again by a thread, until the block is left."""
    found: list[int] = []
    is_done = threading.Event()

    def watch() -> None:
        while not is_done.wait(0.002):
            found.append(measure())
        found.append(measure())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        is_done.set()
        thread.join()
