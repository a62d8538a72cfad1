"""docs/environment.md has every variable that is read, passed on or written into a script, and no other."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from bangerbuild.fetch import mmdebstrap_program
from bangerbuild.formats.oci import skopeo
from bangerbuild.uptodate import check
from tests import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (PROJECT / "docs/environment.md").read_text()
DESCRIBED = {name for name in re.findall(r"`(_?[A-Za-z]+(?:_[A-Za-z]+)+|[A-Z]+)`", PAGE) if "-" not in name}
BY_LIBRARIES = {
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
}
"""Read by tempfile, OpenSSL and urllib, which no line of the package shows."""
SET_FOR_OTHERS = {"LC_ALL"}


def sources() -> Iterator[str]:
    return (path.read_text() for path in (PROJECT / "bangerbuild").rglob("*.py"))


def read_by_code() -> set[str]:
    """What is asked of `os.environ`, by a text in place or by a constant of its module."""
    found = set()
    for source in sources():
        tree = ast.parse(source)
        constants = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            match node:
                case (
                    ast.Call(func=ast.Attribute(value=asked, attr="get"), args=[key, *_])
                    | ast.Subscript(value=asked, slice=key)
                    | ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[asked])
                ) if ast.unparse(asked) in {"os.environ", "os.environb", "environ"}:
                    name = key.value if isinstance(key, ast.Constant) else constants.get(ast.unparse(key))
                    found |= {name} if isinstance(name, str) else set()
                case _:
                    pass
    return found


def in_scripts() -> set[str]:
    """What scripts that are written have of ours."""
    name = re.compile(r"\b_?BANGERBUILD_[A-Z]+(?:_[A-Z]+)*")
    return {found for source in sources() for found in name.findall(source)}


def test_what_the_package_reads_and_writes_into_scripts_is_described() -> None:
    wanted = read_by_code() | in_scripts() | set(check.VARIABLES)
    assert wanted - DESCRIBED == set()
    assert {"SOURCE_DATE_EPOCH", "GITHUB_WORKSPACE", "_BANGERBUILD_COMPLETE", "BANGERBUILD_NET"} <= wanted


def test_what_is_described_is_read_or_passed_on() -> None:
    known = read_by_code() | in_scripts() | set(check.VARIABLES) | BY_LIBRARIES | SET_FOR_OTHERS
    passed_on = {*skopeo.PASSED_ON, *mmdebstrap_program.PASSED_ON}
    assert DESCRIBED - known - passed_on == set()


def test_what_is_passed_on_is_described() -> None:
    for names, program in (
        (skopeo.PASSED_ON, "skopeo, buildah"),
        (mmdebstrap_program.PASSED_ON, "mmdebstrap"),
    ):
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {program}"))
        told = set(re.findall("`([A-Za-z_]+[*]?)`", row))
        capitals = {name.upper() for name in told if name.endswith("_proxy")}
        assert set(names) - told - capitals == set()
