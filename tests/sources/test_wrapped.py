"""A tarball that holds an image in another form is refused, and taken as the refusal says."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.formats.oci.making import LayoutMaker, tarball
from tests.formats.tarmaking import gnu_tar, member
from tests.need import need

if TYPE_CHECKING:
    from tests.projects import Project


def test_what_skopeo_writes_is_refused_as_a_tarball_and_nothing_is_left(project: Project) -> None:
    maker = LayoutMaker(project.directory / "layout")
    maker.add(maker.image(tarball(member(b"etc/passwd", b"root:x:0:0::/root:/bin/sh\n"))), "v1")
    skopeo = need("skopeo")
    for kind in ("oci-archive", "docker-archive"):
        target = project.directory / f"{kind}.tar"
        command = [skopeo, "--insecure-policy", "copy", "-q", "oci:layout:v1", f"{kind}:{target.name}:x:v1"]
        subprocess.run(command, cwd=project.directory, check=True)
        project.write(f'[image.a.rootfs]\ntar = "{target.name}"\n')
        error = project.error("image.a.rootfs")
        assert "holds no root filesystem" in error.brief
        assert f"`{kind}:{target.name}`" in str(error.hint)
        assert not list(project.store.glob("images/*"))
        project.write(f'[image.a]\nrootfs.oci = "{kind}:{target.name}"\n')
        project.build()
        shutil.rmtree(project.store)


def test_a_tree_packed_with_its_directory_is_refused_and_the_commands_of_the_hint_make_it_one(
    project: Project,
) -> None:
    for name in ("etc", "usr"):
        (project.directory / "packed" / "root" / name).mkdir(parents=True)
    gnu_tar(project.directory / "packed", project.directory / "x.tar")
    project.write('[image.a.rootfs]\ntar = "x.tar"\n')
    error = project.error("image.a.rootfs")
    assert "it is a directory 'root' that holds one" in error.brief
    assert "`tar -C root -cf … .`" in str(error.hint)
    subprocess.run([need("tar"), "-C", "packed/root", "-cf", "x.tar", "."], cwd=project.directory, check=True)
    project.build()
    assert project.image("a").exists()
