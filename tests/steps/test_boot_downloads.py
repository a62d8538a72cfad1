"""Kernels and initrds that are downloads: the same artifacts as those of the host's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.errors import FetchError, SourceError
from bangerbuild.model import Verb
from bangerbuild.resolving import lockfile
from tests.kernel.making import RELEASE, bzimage, elf, packed
from tests.projects import DEBIAN, write_tar
from tests.web import Web, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.projects import Project

KERNEL, INITRD = "image.x.kernel", "image.x.initrd"
CPIO = b"070701" + bytes(104)


@pytest.fixture
def web(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server of the files beside the manifest; the user's cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.directory / "cache"))
    write_tar(project.directory / "root.tar", DEBIAN)
    (project.directory / "vmlinuz").write_bytes(bzimage(packed(elf(), "xz")))
    (project.directory / "initrd").write_bytes(CPIO)
    with serving(project.directory) as web:
        yield web


def manifest(kernel: str, initrd: str) -> str:
    return f'[image.x]\nrootfs.tar = "root.tar"\nkernel = {kernel}\ninitrd = {initrd}\n'


def downloads(web: Web, more: str = "") -> str:
    return manifest(*(f'{{ url = "{web.url(name)}"{more} }}' for name in ("vmlinuz", "initrd")))


def artifacts(project: Project, step_id: str) -> tuple[Path, ...]:
    return tuple(project.store / name for name in store.read(project.store).records[step_id].artifacts)


def test_they_are_locked_fetched_once_and_published_as_a_hosts_would_be(project: Project, web: Web) -> None:
    project.write(downloads(web))
    project.build()
    vmlinuz, vmlinux = artifacts(project, KERNEL)
    assert vmlinuz.read_bytes() == (project.directory / "vmlinuz").read_bytes()
    assert vmlinux.read_bytes() == elf()
    assert artifacts(project, INITRD)[0].read_bytes() == CPIO
    record = store.read(project.store).records[KERNEL]
    assert record.facts["release"] == RELEASE
    entries = lockfile.read(project.directory / "bangerbuild.lock").entries
    assert entries.keys() == {KERNEL, INITRD}
    assert record.facts["pin"] == dict(entries[KERNEL].words)
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
    assert sorted(web.requests) == ["/initrd", "/vmlinuz"]


def test_a_kernel_has_one_fingerprint_whether_it_is_a_file_or_a_download(project: Project, web: Web) -> None:
    project.write(manifest('"vmlinuz"', '"initrd"'))
    project.build()
    project.write(downloads(web))
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


def test_a_kernel_that_is_none_is_told_by_its_address(project: Project, web: Web) -> None:
    for name in ("vmlinuz", "initrd"):
        (project.directory / name).write_bytes(b"<!DOCTYPE html>")
    project.write(downloads(web))
    results = project.apply()
    for step_id, name in ((KERNEL, "vmlinuz"), (INITRD, "initrd")):
        error = results[step_id].error
        assert isinstance(error, SourceError)
        assert web.url(name) in error.brief


def test_one_that_is_not_what_it_is_pinned_to_fails_alone(project: Project, web: Web) -> None:
    project.write(downloads(web, f', sha256 = "{"0" * 64}"'))
    results = project.apply()
    assert isinstance(results[KERNEL].error, FetchError)
    assert isinstance(results[INITRD].error, FetchError)
    assert results["image.x.rootfs"].error is None
