"""A Debian repository of a few tiny packages, in a directory."""

from __future__ import annotations

import email.utils
import hashlib
import subprocess
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: me <me@example.org>
Depends: {depends}
Description: a package
"""


def add_package(repository: Path, name: str, version: str, depends: str = "") -> None:
    """Put a package into the repository, with one file; it takes an older version's place."""
    tree = repository / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = CONTROL.format(name=name, version=version, depends=depends)
    (tree / "DEBIAN" / "control").write_text(control.replace("Depends: \n", ""))
    (tree / "usr" / "share" / name).mkdir(parents=True)
    (tree / "usr" / "share" / name / "text").write_text(f"{name} {version}\n")
    for path in [tree, *tree.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    package = repository / f"{name}.deb"
    command = [need("dpkg-deb", "dpkg"), "--root-owner-group", "--build", str(tree), str(package)]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["/bin/rm", "-r", str(tree)], check=True)
    _index(repository)


def _index(repository: Path) -> None:
    packages = "\n".join(_entry(path) for path in sorted(repository.glob("*.deb")))
    (repository / "Packages").write_text(packages)
    digest = hashlib.sha256(packages.encode()).hexdigest()
    date = email.utils.formatdate(usegmt=True)
    release = f"Suite: tiny\nCodename: tiny\nDate: {date}\nSHA256:\n {digest} {len(packages)} Packages\n"
    (repository / "Release").write_text(release)


def _entry(package: Path) -> str:
    command = [need("dpkg-deb", "dpkg"), "--field", str(package)]
    fields = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    data = package.read_bytes()
    return (
        f"{fields}Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
