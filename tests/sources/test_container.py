"""Container images wherever they lie: their layers as one tree, and the program that they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.formats.oci.making import layout_of
from tests.projects import codes
from tests.sources.building import ID, LOWER, built, oci

if TYPE_CHECKING:
    from tests.projects import Project

SCRIPT = """
[image.debian.rootfs]
oci = "oci:layout:v1"
entrypoint = "/sbin/start"
[[image.debian.file_sync]]
host = "busybox"
guest = "/bin/busybox"
mode = "0755"
"""


def test_what_a_container_image_says_of_its_program_is_remembered(project: Project) -> None:
    oci(project.directory)
    built(project, '[image.debian.rootfs]\noci = "oci:layout:v1"\n')
    assert project.facts(ID)["config"] == {
        "env": ["PATH=/bin", "A=b"],
        "working_dir": "/srv",
        "user": "",
        "entrypoint": ["/bin/app"],
        "cmd": ["-v"],
        "volumes": [],
        "stop_signal": "",
        "labels": {},
    }


def test_a_script_that_runs_its_program_is_written_where_the_manifest_says(project: Project) -> None:
    oci(project.directory)
    (project.directory / "busybox").write_bytes(b"\x7fELF")
    disk = built(project, SCRIPT)
    assert disk.stat("/sbin/start").mode == "0755"
    script = disk.text("/sbin/start")
    assert script.startswith("#!/bin/busybox sh\n")
    assert " HOME=/ PATH=/bin A=b \\\n    /bin/app -v\n" in script
    assert (disk.stat("/tmp").mode, disk.stat("/proc").mode) == ("01777", "0555")
    assert any("'/bin/app' is no executable file" in line for line in project.warnings)
    project.write(SCRIPT.replace('entrypoint = "/sbin/start"\n', ""))
    assert codes(project.plan()[ID].reasons) == ["recipe-changed"] * 2  # the path and the script


def test_a_declared_file_in_the_place_of_the_script_wins(project: Project) -> None:
    oci(project.directory)
    (project.directory / "busybox").write_bytes(b"\x7fELF")
    own = '[[image.debian.file]]\nguest = "/sbin/start"\ncontent = "own"\n'
    assert built(project, SCRIPT + own).text("/sbin/start") == "own"


def test_an_image_without_what_the_script_needs_is_refused(project: Project) -> None:
    oci(project.directory)
    project.write(SCRIPT.partition("[[")[0])
    assert "'oci:layout:v1' has no '/bin/sh', 'env'" in project.error(ID).brief


def test_an_image_without_a_program_has_no_script_that_runs_it(project: Project) -> None:
    layout_of(project.directory / "layout", LOWER, tag="v1")
    project.write('[image.debian.rootfs]\noci = "oci:layout:v1"\nentrypoint = "/sbin/start"\n')
    assert project.error(ID).brief == "'oci:layout:v1' says no program that could be run"
