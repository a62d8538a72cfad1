"""Container images wherever they lie: their layers as one tree, and the program that they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.formats.oci.making import layout_of
from tests.projects import codes
from tests.sources.building import ID, LOWER, built, oci

if TYPE_CHECKING:
    from tests.projects import Project


def test_what_a_container_image_says_of_its_program_is_remembered(project: Project) -> None:
    oci(project.directory)
    built(project, '[image.debian.rootfs]\noci = "oci:layout:v1"\n')
    assert project.facts(ID)["config"] == {
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
