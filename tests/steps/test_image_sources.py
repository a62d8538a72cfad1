"""Images of sources that lie elsewhere, and of other images: pinned, built, the same wherever they lay."""

from __future__ import annotations

import contextlib
import gzip
import json
import lzma
import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.errors import FetchError, FilesystemError, GuestPathError, OfflineError, SourceError
from bangerbuild.model import Verb
from bangerbuild.resolving import lockfile
from tests.disk.ext4_tools import make_ext4
from tests.formats.oci.making import LayoutMaker, layout_of, opaque, tarball, whiteout
from tests.formats.tarmaking import member
from tests.need import need
from tests.projects import DEBIAN, Disk, codes, write_tar
from tests.web import Web, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bangerbuild.model import Json
    from tests.projects import Project

MIB = 1 << 20
ID = "image.debian.rootfs"
LOWER = tarball(member(b"etc/old", b"old"), member(b"etc/kept", b"kept"), member(b"srv/a", b"a"))
UPPER = tarball(whiteout(b"etc/old"), opaque(b"srv"), member(b"srv/b", b"b"))
CONFIG = {"Env": ["PATH=/bin", "A=b"], "WorkingDir": "/srv", "Entrypoint": ["/bin/app"], "Cmd": ["-v"]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/bangerbuild"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A server of the files in `served`."""
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as web:
        yield web


@pytest.fixture
def served(web: Web, tmp_path: Path) -> Path:
    return tmp_path / "served"


def url_of(web: Web, name: str = "root.tar") -> str:
    return f'[image.debian.rootfs]\nurl = "{web.url(name)}"\n'


def built(project: Project, text: str, name: str = "debian") -> Disk:
    """The image that the manifest gives; e2fsck must be content with it."""
    project.write(text)
    project.build()
    disk = Disk(project.image(name))
    disk.assert_clean()
    return disk


def facts(project: Project, step_id: str = ID) -> dict[str, Json]:
    return dict(store.read(project.store).records[step_id].facts)


def locked(project: Project) -> lockfile.LockFile:
    return lockfile.read(project.directory / "bangerbuild.lock")


# downloads


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
    remembered = facts(project)
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
    error = project.error(ID)
    assert error.brief == f"'{web.url('page')}' is neither a tarball nor an ext4 but a web page"


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


# container images


def oci(directory: Path) -> Path:
    maker = LayoutMaker(directory / "layout")
    return maker.add(maker.image(LOWER, UPPER, config=CONFIG), "v1").path


def first_layer(layout: Path) -> Path:
    """The file of the lowest layer of a layout's only image."""
    blobs = layout / "blobs/sha256"
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads((blobs / entry["digest"].removeprefix("sha256:")).read_bytes())
    return blobs / str(manifest["layers"][0]["digest"]).removeprefix("sha256:")


def assert_merged(disk: Disk) -> None:
    assert disk.text("/etc/kept") == "kept"
    assert not disk.exists("/etc/old")
    assert disk.names("/srv") == {"b"}


def test_a_layout_becomes_an_image_of_its_merged_layers(project: Project) -> None:
    oci(project.directory)
    assert_merged(built(project, '[image.debian.rootfs]\noci = "oci:layout:v1"\n'))
    assert locked(project).entries == {}


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
    """What all files below `top` take; whatever goes meanwhile may be left out."""
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


def test_what_a_container_image_says_of_its_program_is_remembered(project: Project) -> None:
    oci(project.directory)
    built(project, '[image.debian.rootfs]\noci = "oci:layout:v1"\n')
    assert facts(project)["config"] == {
        "env": ["PATH=/bin", "A=b"],
        "working_dir": "/srv",
        "user": "",
        "entrypoint": ["/bin/app"],
        "cmd": ["-v"],
        "labels": {},
    }


def test_a_script_that_runs_its_program_is_written_where_the_manifest_says(project: Project) -> None:
    oci(project.directory)
    disk = built(project, '[image.debian.rootfs]\noci = "oci:layout:v1"\nentrypoint = "/sbin/start"\n')
    assert disk.stat("/sbin/start").mode == "0755"
    script = disk.text("/sbin/start")
    for line in ("export A=b", "cd /srv || exit", "set -- /bin/app -v"):
        assert line in script.splitlines()
    project.write('[image.debian.rootfs]\noci = "oci:layout:v1"\n')
    assert codes(project.plan()[ID].reasons) == ["recipe-changed"]


def test_an_image_without_a_program_has_no_script_that_runs_it(project: Project) -> None:
    layout_of(project.directory / "layout", LOWER, tag="v1")
    project.write('[image.debian.rootfs]\noci = "oci:layout:v1"\nentrypoint = "/sbin/start"\n')
    assert project.error(ID).brief == "'oci:layout:v1' says no program that could be run"


def test_another_tag_in_a_layout_changes_nothing_and_a_moved_one_makes_a_new_image(project: Project) -> None:
    layout = oci(project.directory)
    text = '[image.debian.rootfs]\noci = "oci:layout:v1"\n'
    first = built(project, text).path
    index = json.loads((layout / "index.json").read_text())
    entry = index["manifests"][0]
    index["manifests"].append({**entry, "annotations": {"org.opencontainers.image.ref.name": "v2"}})
    (layout / "index.json").write_text(json.dumps(index))
    assert project.plan()[ID].verb is Verb.KEEP
    layout.rename(project.directory / "old")
    layout_of(project.directory / "layout", LOWER, tag="v1")
    action = project.plan()[ID]
    assert (action.verb, codes(action.reasons)) == (Verb.CREATE, ["source-changed"])
    assert built(project, text).path != first


def test_the_same_layout_elsewhere_gives_the_same_fingerprint(project: Project) -> None:
    oci(project.directory)
    first = built(project, '[image.debian.rootfs]\noci = "oci:layout:v1"\n').path
    (project.directory / "layout").rename(project.directory / "moved")
    assert built(project, '[image.debian.rootfs]\noci = "oci:moved"\n').path == first


def test_a_layout_without_the_tag_is_one_plain_error(project: Project) -> None:
    oci(project.directory)
    project.write('[image.debian.rootfs]\noci = "oci:layout:v2"\n')
    with pytest.raises(SourceError, match="has no image with the tag 'v2'") as caught:
        project.plan()
    assert caught.value.hint == "it has 'v1'"


def test_a_damaged_layer_fails_the_step_by_name(project: Project) -> None:
    layout = oci(project.directory)
    layer = first_layer(layout)
    data = bytearray(layer.read_bytes())
    data[-1] ^= 1
    layer.write_bytes(data)
    project.write('[image.debian.rootfs]\noci = "oci:layout:v1"\n')
    error = project.error(ID)
    assert error.brief.startswith("'oci:layout:v1: layer 1 of 2' is not what it must be: its digest is ")


# other images


@pytest.fixture
def base(debian: Project) -> Project:
    """A project with a base image, built."""
    built(debian, BASE)
    return debian


BASE = '[image.debian.rootfs]\ntar = "root.tar"\n'
DERIVED = """
[image.web.rootfs]
image = "debian"
[[image.web.file]]
guest = "/etc/motd"
content = "hello\\n"
mode = "0600"
owner = "www-data:www-data"
[[image.web.file_sync]]
host = "site"
guest = "/srv/site"
owner = "33:33"
exclude = ["*.bak"]
"""


def write_site(project: Project) -> None:
    (project.directory / "site").mkdir()
    (project.directory / "site/index.html").write_text("hi")
    (project.directory / "site/old.bak").touch()


def test_an_image_from_another_has_what_that_has_and_its_own_files(base: Project) -> None:
    before = base.image().read_bytes()
    write_site(base)
    disk = built(base, BASE + DERIVED, "web")
    assert disk.text("/etc/hostname") == "image\n"
    found = disk.stat("/etc/motd")
    assert (disk.text("/etc/motd"), found.mode, found.owner) == ("hello\n", "0600", "33:33")
    assert (disk.names("/srv/site"), disk.stat("/srv/site/index.html").owner) == ({"index.html"}, "33:33")
    assert base.image().read_bytes() == before


def test_it_is_made_anew_when_the_other_one_changes_or_a_file_of_its_own(base: Project) -> None:
    write_site(base)
    built(base, BASE + DERIVED, "web")
    (base.directory / "site/index.html").write_text("bye")
    action = base.plan()["image.web.rootfs"]
    assert (action.verb, codes(action.reasons)) == (Verb.CREATE, ["source-changed"])
    base.write(BASE + DERIVED.replace("hello", "bye"))
    base.build()
    write_tar(base.directory / "root.tar", {**DEBIAN, "new": ""})
    plan = base.plan()
    assert codes(plan["image.web.rootfs"].reasons) == ["input-changed"]
    assert plan["image.debian.rootfs"].verb is Verb.CREATE


def test_two_builds_of_it_give_the_same_bytes(base: Project) -> None:
    write_site(base)
    path = built(base, BASE + DERIVED, "web").path
    before = path.read_bytes()
    path.unlink()
    assert built(base, BASE + DERIVED, "web").path.read_bytes() == before


def test_it_may_be_larger(base: Project) -> None:
    text = BASE + '[image.web]\nrootfs = { image = "debian", size = "320MiB" }\n'
    assert built(base, text, "web").path.stat().st_size == 320 * MIB


def test_it_can_not_be_smaller(base: Project) -> None:
    base.write(BASE + '[image.web]\nrootfs = { image = "debian", size = "16MiB" }\n')
    error = base.error("image.web.rootfs")
    assert error.brief.startswith("'image debian' has ")
    assert error.hint == "leave out `size`, or make it larger"


def test_files_that_do_not_fit_are_told_with_the_way_out(base: Project) -> None:
    (base.directory / "site").mkdir()
    (base.directory / "site/big").write_bytes(os.urandom(200 * MIB))
    base.write(BASE + DERIVED)
    error = base.error("image.web.rootfs")
    assert isinstance(error, FilesystemError)
    assert "no space left in the guest filesystem" in error.brief
    assert error.hint == "give the image a larger `size`"


def test_a_file_where_a_directory_is_is_refused_by_its_path(base: Project) -> None:
    base.write(BASE + DERIVED.replace("/etc/motd", "/etc/ssh").partition("[[image.web.file_sync]]")[0])
    error = base.error("image.web.rootfs")
    assert isinstance(error, GuestPathError)
    assert "/etc/ssh" in error.brief


def test_an_owner_that_the_image_does_not_know_is_refused(base: Project) -> None:
    base.write(
        BASE + DERIVED.replace("www-data:www-data", "nobody:root").partition("[[image.web.file_sync]]")[0]
    )
    error = base.error("image.web.rootfs")
    assert "'nobody' is not in the guest's /etc/passwd" in error.brief


def test_images_may_stand_on_one_another_and_a_vm_on_the_last(base: Project) -> None:
    write_site(base)
    top = '[image.top]\nrootfs.image = "web"\nfile = [{ guest = "/top", content = "" }]\n'
    more = top + '[vm.web]\nimage = "top"\n'
    built(base, BASE + DERIVED + more, "top")
    guest = base.guest()
    guest.assert_clean()
    assert guest.exists("/top")
    assert guest.text("/srv/site/index.html") == "hi"


def test_a_seed_may_be_another_images(debian: Project) -> None:
    write_tar(debian.directory / "home.tar", {"root/.profile": "hello\n", "root/root/file": "x"})
    text = BASE + '[image.debian.work_seed]\ntar = "home.tar"\n'
    built(
        debian,
        text + '[image.web]\nrootfs.image = "debian"\nwork_seed = { image = "debian", size = "320MiB" }\n',
        "web",
    )
    record = store.read(debian.store).records["image.web.work_seed"]
    seed = Disk(debian.store / record.artifacts[0])
    seed.assert_clean()
    assert (seed.text("/.profile"), seed.text("/root/file")) == ("hello\n", "x")


def test_an_image_of_any_source_may_have_files(debian: Project) -> None:
    disk = built(debian, BASE + '[[image.debian.file]]\nguest = "/etc/motd"\ncontent = "hello"\n')
    assert disk.text("/etc/motd") == "hello"


def test_an_image_without_files_of_its_own_keeps_the_fingerprint_it_had(debian: Project) -> None:
    """What is empty is no part of a recipe: images that were built before files could be given stay."""
    debian.write(BASE)
    assert sorted(debian.plan()[ID].recipe.fields) == ["rootfs.size"]


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
