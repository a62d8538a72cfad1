"""Databases of packages, judged by the programs that keep them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bangerbuild.bill.installed import Distribution, Package, distribution, packages
from bangerbuild.errors import SourceError
from tests.need import need

STATUS = """\
Package: held
Status: hold ok installed
Architecture: amd64
Source: other (1.0)
Version: 1.0+b1
Maintainer: A Team <a@example.org>
Description: one line
 Package: no-package
 Version: 9

Package: removed
Status: deinstall ok config-files
Version: 2

Package: broken
Status: install ok half-installed
Version: 3
"""
APK = """\
C:Q1abc=
P:musl
V:1.2.4-r2
A:x86_64
T:the musl c library (libc) implementation
L:MIT
o:musl
m:Timo <t@example.org>
F:lib
R:ld-musl-x86_64.so.1
Z:Q1def=

P:busybox-binsh
V:1.36.1-r5
A:x86_64
L:GPL-2.0-only
o:busybox
"""


class Tree:
    """The files of a guest."""

    def __init__(self, **content: str | bytes) -> None:
        self._files = {
            path: text.encode() if isinstance(text, str) else text for path, text in content.items()
        }

    def read(self, path: str, /) -> bytes | None:
        return self._files.get(path)

    def listdir(self, path: str, /) -> list[str] | None:
        return [name.rpartition("/")[2] for name in self._files if name.rpartition("/")[0] == path] or None

    def exists(self, path: str, /) -> bool:
        return path in self._files


def test_the_packages_are_those_that_dpkg_itself_names() -> None:
    query = need("dpkg-query", "dpkg")
    form = (
        "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n"
    )
    shown = subprocess.run([query, "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    wanted = sorted(tuple(row[1:]) for row in rows if row[0] == "installed")
    found = packages(Tree(**{"/var/lib/dpkg/status": Path("/var/lib/dpkg/status").read_bytes()}))
    assert [
        (one.name, one.version, one.architecture, one.source, one.source_version) for one in found
    ] == wanted


def test_only_what_is_whole_counts_and_a_binary_may_have_another_source() -> None:
    (found,) = packages(Tree(**{"/var/lib/dpkg/status": STATUS}))
    assert found == Package("deb", "held", "1.0+b1", "amd64", "other", "1.0", "A Team <a@example.org>", "")


def test_an_image_without_dpkg_has_a_file_for_each_package() -> None:
    tree = Tree(
        **{
            "/var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 12\nArchitecture: arm64\n",
            "/var/lib/dpkg/status.d/base.md5sums": "Package: none\nVersion: 1\n",
        }
    )
    assert [(one.name, one.version) for one in packages(tree)] == [("base-files", "12")]


def test_the_packages_of_alpine_have_the_licence_that_apk_knows() -> None:
    found = packages(Tree(**{"/lib/apk/db/installed": APK}))
    assert [(one.name, one.source, one.licence) for one in found] == [
        ("busybox-binsh", "busybox", "GPL-2.0-only"),
        ("musl", "musl", "MIT"),
    ]


@pytest.mark.parametrize(
    ("tree", "brief"),
    [
        (Tree(), "the image has no database of packages"),
        (
            Tree(**{"/var/lib/rpm/rpmdb.sqlite": ""}),
            "the packages of the image are in a database of rpm, which is not read",
        ),
        (Tree(**{"/var/lib/dpkg/status": b"\xff\x00:\n\n:::\n"}), "the image has no database of packages"),
    ],
)
def test_an_image_without_packages_that_can_be_read_is_refused(tree: Tree, brief: str) -> None:
    with pytest.raises(SourceError) as caught:
        packages(tree)
    assert caught.value.brief == brief


def test_an_image_says_of_which_distribution_it_is() -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
    assert distribution(Tree(**{"/usr/lib/os-release": text})) == Distribution(
        "debian", "12", "Debian GNU/Linux 12 (bookworm)"
    )
    assert distribution(Tree()) == Distribution()
