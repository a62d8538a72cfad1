"""Images that start from another image of the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.model import Verb
from tests.projects import DEBIAN, Disk, codes, write_tar
from tests.sources.building import BASE, DERIVED, MIB, built

if TYPE_CHECKING:
    from tests.projects import Project


@pytest.fixture
def base(debian: Project) -> Project:
    """A project with a base image, built."""
    built(debian, BASE)
    return debian


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
