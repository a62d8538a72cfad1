from __future__ import annotations

import itertools
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.kernel.version import debian_key, names_release, release_key, version_in
from tests.need import need

VERSIONS = (
    "6.1",
    "6.1.0",
    "6.01",
    "6.1~rc1",
    "6.1~",
    "6.1a",
    "6.1+",
    "6.10",
    "6.9",
    "6.1-9",
    "6.1-10",
    "6.1.0+b1",
)
"""What needs no epoch, and begins with a digit, so that dpkg takes it."""


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(VERSIONS, 2)))
def test_versions_compare_as_dpkg_compares_them(one: str, other: str) -> None:
    relation = "lt" if debian_key(one) < debian_key(other) else "gt"
    relation = "eq" if debian_key(one) == debian_key(other) else relation
    command = [need("dpkg"), "--compare-versions", one, relation, other]
    assert subprocess.run(command, check=False).returncode == 0


@given(st.text("0123456789.-+~abc", max_size=12), st.text("0123456789.-+~abc", max_size=12))
def test_any_two_versions_can_be_compared(one: str, other: str) -> None:
    assert (debian_key(one) < debian_key(other)) == (debian_key(other) > debian_key(one))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("6.1.0-9-amd64", "6.1.0-10-amd64"),
        ("5.10.0-30-cloud-amd64", "6.1.0-1-cloud-amd64"),
        ("6.8-rc3-amd64", "6.8.0-1-amd64"),
        ("6.8-rc3", "6.8"),
        ("6.8-rc9", "6.8-rc10"),
        ("6.1-trunk-amd64", "6.1.0-0-amd64"),
        ("6.1.0-0.deb11.5-amd64", "6.1.0-0.deb11.17-cloud-amd64"),
        ("6.12.9+deb13-amd64", "6.12.48+deb13-amd64"),
        ("5.15.0-91-generic", "6.5.0-14-generic"),
        ("0-rescue-2f6cd1b4", "5.14.0-362.el9.x86_64"),
        ("5.14.0-362.8.1.el9_3.x86_64", "5.14.0-362.24.1.el9_3.x86_64"),
        ("6.6.8-200.fc38.x86_64", "6.6.8-200.fc39.x86_64"),
        ("6.6.8-arch1-1", "6.6.10-arch1-1"),
    ],
)
def test_a_newer_kernel_has_the_greater_key(older: str, newer: str) -> None:
    assert release_key(older) < release_key(newer)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("6.1.0-9-amd64", "6.1.0-9-cloud-amd64"),
        ("6.1.0-9-amd64", "6.1.0-9-amd64-unsigned"),
        ("5.15.0-91-generic", "5.15.0-91-lowlatency"),
        ("5.14.0-362.el9.x86_64", "5.14.0-362.el9.x86_64+debug"),
        ("6.1.0", "6.01.0"),
    ],
)
def test_flavours_of_one_version_are_neither_older_nor_newer(one: str, other: str) -> None:
    assert release_key(one) == release_key(other)


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("vmlinuz-6.1.0-9-cloud-amd64", "6.1.0-9-cloud-amd64"),
        ("initrd.img-6.1.0-9-amd64", "6.1.0-9-amd64"),
        ("initramfs-5.14.0-362.el9.x86_64.img", "5.14.0-362.el9.x86_64"),
        ("kernel6.1.0", "6.1.0"),
        ("vmlinuz-linux", None),
        ("vmlinuz-x86_64", None),
        ("initrd.img", None),
    ],
)
def test_the_release_is_read_from_a_files_name(name: str, release: str | None) -> None:
    assert version_in(name) == release


@pytest.mark.parametrize(
    ("name", "release", "does"),
    [
        ("initrd.img-6.1.0-9-amd64", "6.1.0-9-amd64", True),
        ("initramfs-6.6.8-200.fc39.x86_64.img", "6.6.8-200.fc39.x86_64", True),
        ("initrd.img-6.1.0-9-amd64-unsigned", "6.1.0-9-amd64", False),
        ("initrd.img-6.1.0-9-amd64", "6.1.0-9", False),
        ("initrd.img-16.1.0", "6.1.0", False),
        ("initrd.img-6.1.0.2", "6.1.0", False),
        ("initramfs-6.6.8.x86_64kdump.img", "6.6.8.x86_64", False),
        ("initrd.img", "6.1.0", False),
    ],
)
def test_a_name_belongs_to_exactly_the_release_it_holds(name: str, release: str, *, does: bool) -> None:
    assert names_release(name, release) is does
