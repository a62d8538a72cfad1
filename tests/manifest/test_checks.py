"""Across the files of a manifest: one store, names that are known, and what no two VMs may share."""

from __future__ import annotations

from pathlib import Path

import pytest

from bangerbuild.errors import Problem
from bangerbuild.manifest import load
from tests.manifest.loading import WEB, problems, problems_of, write
from tests.manifests import MINIMAL


def test_a_name_defined_in_two_files_is_told_with_both_places() -> None:
    write("a.toml", '\n[image.debian.rootfs]\ntar = "root.tar"\n[vm.web]\nimage = "debian"')
    found = problems_of('include = ["a.toml"]\n' + MINIMAL)

    assert [(problem.file, problem.line, problem.message) for problem in found] == [
        ("a.toml", 2, "image 'debian' is defined twice, first in image.debian (vm.toml:2)"),
        ("a.toml", 4, "vm 'web' is defined twice, first in vm.web (vm.toml:5)"),
    ]


def test_one_file_by_two_names_is_no_name_twice() -> None:
    Path("link.toml").symlink_to("vm.toml")
    assert list(load([write("vm.toml", MINIMAL), Path("link.toml")]).vms) == ["web"]


def test_only_the_first_file_may_have_a_store() -> None:
    write("a.toml", '# a comment\n[store]\npath = "x"')
    expected = (
        Problem("a.toml", 2, "store", "only the first manifest may have [store]", "move it to vm.toml"),
    )
    assert problems_of('include = ["a.toml"]') == expected
    assert problems(write("vm.toml", ""), Path("a.toml")) == expected


def test_an_image_that_a_broken_include_may_define_is_not_told_as_unknown() -> None:
    (problem,) = problems_of('include = ["gone.toml"]\n[vm.web]\nimage = "debian"')
    assert problem.key == "include[0]"


def test_two_vms_of_two_files_may_not_share_an_address() -> None:
    write("a.toml", '[vm.a]\nimage = "debian"\nnetwork.address = "10.0.0.2/24"')
    (problem,) = problems(write("vm.toml", WEB + 'network.address = "10.0.0.2/8"'), Path("a.toml"))
    assert (problem.file, problem.line) == ("a.toml", 3)
    assert problem.message == "more than one VM has the address '10.0.0.2': vm.web, vm.a"


OVERLAY = """\
[image.debian.rootfs]
tar = "root.tar"
{init}
[image.derived.rootfs]
image = "debian"
[vm.web]
image = "{image}"
root.format = "overlay"
"""


@pytest.mark.parametrize("image", ["debian", "derived"])
def test_an_overlay_root_asks_for_the_init_that_joins_it_in_its_image_or_in_what_that_starts_from(
    image: str,
) -> None:
    (problem,) = problems_of(OVERLAY.format(image=image, init=""))
    assert (problem.file, problem.line, problem.key) == ("vm.toml", 8, "vm.web.root.format")
    assert problem.message == f"format 'overlay', but image '{image}' has no overlay_init"
    assert problem.hint is not None
    assert f"overlay_init = true under [image.{image}.rootfs]" in problem.hint
    assert load([write("vm.toml", OVERLAY.format(image=image, init="overlay_init = true"))]).vms


def test_nothing_is_said_of_an_image_of_which_too_little_is_known() -> None:
    text = OVERLAY.format(image="derived", init="").replace('tar = "root.tar"', "")
    assert [problem.message for problem in problems_of(text)] == ["no source"]


def test_a_seed_of_work_disks_has_no_init() -> None:
    text = '[image.debian]\nrootfs.tar = "root.tar"\nwork_seed = { tar = "root.tar", overlay_init = true }\n'
    (problem,) = problems_of(text)
    assert problem.key == "image.debian.work_seed.overlay_init"
    assert "in rootfs only" in problem.message
