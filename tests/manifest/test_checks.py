"""Across the files of a manifest: one store, names that are known, and what no two VMs may share."""

from __future__ import annotations

from pathlib import Path

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
