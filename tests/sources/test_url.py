"""Downloads: images and boot files behind an address, pinned, built, the same wherever they lay."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.errors import FetchError, OfflineError, SourceError
from bangerbuild.model import Verb
from bangerbuild.resolving import lockfile
from tests.disk.ext4_tools import make_ext4
from tests.kernel.making import RELEASE, bzimage, elf, packed
from tests.need import need
from tests.projects import DEBIAN, Disk, write_tar
from tests.sources.building import ID, MIB, built, locked
from tests.web import Web, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.projects import Project


def url_of(web: Web, name: str = "root.tar") -> str:
    return f'[image.debian.rootfs]\nurl = "{web.url(name)}"\n'


@pytest.mark.parametrize("compression", ["plain", "gzip", "xz"])
def test_a_tarball_behind_an_address_becomes_an_image_and_is_told_by_its_content(
    project: Project, web: Web, served: Path, compression: str
) -> None:
    plain = write_tar(served / "thing", DEBIAN).read_bytes()
    packed = {"plain": plain, "gzip": gzip.compress(plain), "xz": lzma.compress(plain)}[compression]
    (served / "thing").write_bytes(packed)
    disk = built(project, url_of(web, "thing"))
    assert disk.text("/etc/hostname") == "image\n"
    assert web.requests == ["/thing"]


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_ext4_behind_an_address_is_taken_as_it_is(
    project: Project,
    web: Web,
    served: Path,
    is_packed: bool,  # noqa: FBT001  # a row of the table
) -> None:
    plain = make_ext4(served / "disk", size="32M").read_bytes()
    if is_packed:
        (served / "disk").write_bytes(gzip.compress(plain))
    disk = built(project, url_of(web, "disk"))
    assert disk.path.read_bytes() == plain
    assert disk.path.stat().st_mode & 0o7777 == 0o444
    assert disk.path.stat().st_blocks * 512 < 8 * MIB


def test_an_ext4_behind_an_address_is_grown_to_the_size_that_was_asked_for(
    project: Project, web: Web, served: Path
) -> None:
    (served / "disk.gz").write_bytes(gzip.compress(make_ext4(served / "disk", size="32M").read_bytes()))
    disk = built(project, url_of(web, "disk.gz") + 'size = "64MiB"\n')
    assert disk.path.stat().st_size == 64 * MIB


def test_the_first_apply_locks_an_address_and_later_ones_ask_nobody(
    project: Project, web: Web, served: Path
) -> None:
    write_tar(served / "root.tar", DEBIAN)
    first = built(project, url_of(web)).path
    entry = locked(project).entries[ID]
    write_tar(served / "root.tar", {**DEBIAN, "etc/hostname": "moved\n"})
    assert project.plan()[ID].verb is Verb.KEEP
    assert built(project, url_of(web)).path == first
    assert web.requests == ["/root.tar"]
    assert locked(project).entries == {ID: entry}


def test_a_plan_writes_no_lock_file(project: Project, web: Web, served: Path) -> None:
    write_tar(served / "root.tar", DEBIAN)
    project.write(url_of(web))
    assert project.plan()[ID].verb is Verb.CREATE
    assert not (project.directory / "bangerbuild.lock").exists()
    assert not project.store.exists()


def test_what_the_manifest_pins_is_fetched_only_when_it_is_built(
    project: Project, web: Web, served: Path
) -> None:
    digest = subprocess.run(
        [need("sha256sum", "coreutils"), write_tar(served / "root.tar", DEBIAN)],
        capture_output=True,
        check=True,
    ).stdout.split()[0]
    text = url_of(web) + f'sha256 = "{digest.decode().upper()}"\n'
    project.write(text)
    project.plan()
    assert web.requests == []
    built(project, text)
    assert web.requests == ["/root.tar"]
    assert not (project.directory / "bangerbuild.lock").exists()


def test_a_download_that_is_not_what_it_is_pinned_to_fails_its_step_alone(
    project: Project, web: Web, served: Path
) -> None:
    write_tar(served / "root.tar", DEBIAN)
    write_tar(project.directory / "other.tar", DEBIAN)
    project.write(url_of(web) + f'sha256 = "{"0" * 64}"\n[image.other.rootfs]\ntar = "other.tar"\n')
    results = project.apply()
    assert isinstance(results[ID].error, FetchError)
    assert results["image.other.rootfs"].error is None


def test_the_fingerprint_depends_on_the_bytes_and_not_on_where_they_lie(
    project: Project, web: Web, served: Path
) -> None:
    write_tar(served / "root.tar", DEBIAN)
    write_tar(served / "moved.tar", DEBIAN)
    first = built(project, url_of(web)).path
    assert built(project, url_of(web, "moved.tar")).path == first


def test_an_image_that_is_gone_is_made_again_out_of_the_cache(
    project: Project, web: Web, served: Path
) -> None:
    write_tar(served / "root.tar", DEBIAN)
    path = built(project, url_of(web)).path
    before = path.read_bytes()
    path.unlink()
    (served / "root.tar").unlink()
    assert built(project, url_of(web)).path.read_bytes() == before
    assert web.requests == ["/root.tar"]


def test_the_record_says_what_the_image_was_made_of(project: Project, web: Web, served: Path) -> None:
    write_tar(served / "root.tar", DEBIAN)
    built(project, url_of(web))
    remembered = project.facts(ID)
    assert remembered["source"] == web.url("root.tar")
    assert remembered["pin"] == dict(locked(project).entries[ID].words)


def test_a_lock_file_that_was_lost_is_made_again_of_what_was_built(
    project: Project, web: Web, served: Path
) -> None:
    write_tar(served / "root.tar", DEBIAN)
    built(project, url_of(web))
    before = locked(project)
    (project.directory / "bangerbuild.lock").unlink()
    (served / "root.tar").unlink()
    assert project.apply() != {}
    assert (locked(project), web.requests) == (before, ["/root.tar"])


def test_a_web_page_is_no_image(project: Project, web: Web, served: Path) -> None:
    (served / "page").write_text("<!DOCTYPE html><html>please log in</html>")
    project.write(url_of(web, "page"))
    assert (
        project.foretold(ID)
        == f"'{web.url('page')}' is a web page: it is neither a tarball nor an ext4 nor a disk image "
        "nor a cpio archive nor a squashfs image"
    )


def test_an_address_that_gives_nothing_is_one_plain_error_and_no_store_is_made(
    project: Project, web: Web, served: Path
) -> None:
    project.write(url_of(web, "gone"))
    with pytest.raises(FetchError, match="is not there: its server says '404"):
        project.apply()
    assert not project.store.exists()


@pytest.mark.parametrize("source", ["url", "tar"])
def test_a_bomb_is_refused_by_the_limit_of_the_manifest(
    project: Project, web: Web, served: Path, source: str
) -> None:
    plain = write_tar(served / "plain", {"zeros": bytes(8 * MIB)}).read_bytes()
    for path in (served / "bomb", project.directory / "bomb"):
        path.write_bytes(gzip.compress(plain))
    where = web.url("bomb") if source == "url" else "bomb"
    project.write(f'[image.debian.rootfs]\n{source} = "{where}"\nmax_size = "4MiB"\n')
    error = project.error(ID)
    assert isinstance(error, SourceError)
    assert "unpacks to more than 4 MiB" in error.brief
    built(project, f'[image.debian.rootfs]\n{source} = "{where}"\nmax_size = "16MiB"\n')


def test_a_seed_may_be_a_download_whose_root_directory_becomes_its_top(
    project: Project, web: Web, served: Path
) -> None:
    write_tar(project.directory / "root.tar", DEBIAN)
    write_tar(served / "home.tar", {"root/.profile": "hello\n"})
    project.write(f'[image.debian]\nrootfs.tar = "root.tar"\nwork_seed.url = "{web.url("home.tar")}"\n')
    project.build()
    record = store.read(project.store).records["image.debian.work_seed"]
    seed = Disk(project.store / record.artifacts[0])
    seed.assert_clean()
    assert (seed.text("/.profile"), seed.superblock("Filesystem volume name")) == ("hello\n", "work")


# offline


def test_offline_an_unknown_address_is_refused_by_name_and_a_cached_one_builds(
    project: Project, web: Web, served: Path
) -> None:
    write_tar(served / "root.tar", DEBIAN)
    project.write(url_of(web))
    project.offline = True
    with pytest.raises(OfflineError, match=r"root\.tar' is not in the cache"):
        project.apply()
    project.offline = False
    project.plan()
    project.offline = True
    project.build()
    assert web.requests == ["/root.tar"]


def test_offline_a_pinned_download_that_is_not_in_the_cache_fails_its_step(
    project: Project, web: Web, served: Path
) -> None:
    write_tar(served / "root.tar", DEBIAN)
    project.write(url_of(web) + f'sha256 = "{"0" * 64}"\n')
    project.offline = True
    assert isinstance(project.error(ID), OfflineError)
    assert web.requests == []


# kernels and initrds


KERNEL, INITRD = "image.x.kernel", "image.x.initrd"
CPIO = b"070701" + bytes(104)


@pytest.fixture
def boot_web(debian: Project, cache: Path) -> Iterator[Web]:
    """A server of the files beside the manifest, which are a kernel and an initrd too."""
    (debian.directory / "vmlinuz").write_bytes(bzimage(packed(elf(), "xz")))
    (debian.directory / "initrd").write_bytes(CPIO)
    with serving(debian.directory) as web:
        yield web


def boot_manifest(kernel: str, initrd: str) -> str:
    return f'[image.x]\nrootfs.tar = "root.tar"\nkernel = {kernel}\ninitrd = {initrd}\n'


def downloads(boot_web: Web, more: str = "") -> str:
    return boot_manifest(*(f'{{ url = "{boot_web.url(name)}"{more} }}' for name in ("vmlinuz", "initrd")))


def boot_artifacts(project: Project, step_id: str) -> tuple[Path, ...]:
    return tuple(project.store / name for name in store.read(project.store).records[step_id].artifacts)


def test_they_are_locked_fetched_once_and_published_as_a_hosts_would_be(
    project: Project, boot_web: Web
) -> None:
    project.write(downloads(boot_web))
    project.build()
    vmlinuz, vmlinux = boot_artifacts(project, KERNEL)
    assert vmlinuz.read_bytes() == (project.directory / "vmlinuz").read_bytes()
    assert vmlinux.read_bytes() == elf()
    assert boot_artifacts(project, INITRD)[0].read_bytes() == CPIO
    record = store.read(project.store).records[KERNEL]
    assert record.facts["release"] == RELEASE
    entries = lockfile.read(project.directory / "bangerbuild.lock").entries
    assert entries.keys() == {KERNEL, INITRD}
    assert record.facts["pin"] == dict(entries[KERNEL].words)
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
    assert sorted(boot_web.requests) == ["/initrd", "/vmlinuz"]


def test_a_kernel_has_one_fingerprint_whether_it_is_a_file_or_a_download(
    project: Project, boot_web: Web
) -> None:
    project.write(boot_manifest('"vmlinuz"', '"initrd"'))
    project.build()
    project.write(downloads(boot_web))
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


def test_a_kernel_that_is_none_is_told_by_its_address(project: Project, boot_web: Web) -> None:
    for name in ("vmlinuz", "initrd"):
        (project.directory / name).write_bytes(b"<!DOCTYPE html>")
    project.write(downloads(boot_web))
    results = project.apply()
    for step_id, name in ((KERNEL, "vmlinuz"), (INITRD, "initrd")):
        error = results[step_id].error
        assert isinstance(error, SourceError)
        assert boot_web.url(name) in error.brief


def test_one_that_is_not_what_it_is_pinned_to_fails_alone(project: Project, boot_web: Web) -> None:
    project.write(downloads(boot_web, f', sha256 = "{"0" * 64}"'))
    results = project.apply()
    assert isinstance(results[KERNEL].error, FetchError)
    assert isinstance(results[INITRD].error, FetchError)
    assert results["image.x.rootfs"].error is None
