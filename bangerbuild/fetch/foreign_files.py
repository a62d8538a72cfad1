"""Remove a directory with files of other users, as a builder writes them in a namespace of its own."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from bangerbuild.formats.oci.skopeo import environment
from bangerbuild.host import process
from bangerbuild.host.process import Command

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAMS = ("buildah", "podman")
"""Each enters that namespace: it is made of the user's lines in /etc/subuid and /etc/subgid."""


def remove(path: Path) -> None:
    """Remove a directory as far as that goes."""
    shutil.rmtree(path, ignore_errors=True)
    if os.geteuid() == 0 or not path.exists():
        return
    program = next((one for one in _PROGRAMS if shutil.which(one, path=process.SEARCH_PATH)), None)
    if program is not None:
        argv = (program, "unshare", "rm", "-rf", "--", str(path))
        process.run(Command(argv, environment(os.environ), ok=frozenset(range(256))))
