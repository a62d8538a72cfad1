"""Where programs are looked for. It imports next to nothing, as a start of a VM waits for it."""

from __future__ import annotations

import os
import stat

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
"""On Debian, the filesystem tools are not in an ordinary user's PATH."""


def which(program: str, search_path: str = SEARCH_PATH) -> str | None:
    """The path of a program in the first directory that has it, as shutil.which finds it."""
    for directory in search_path.split(os.pathsep):
        path = os.path.join(directory, program)
        try:
            is_file = not stat.S_ISDIR(os.stat(path).st_mode)
        except OSError:
            continue
        if is_file and os.access(path, os.X_OK):
            return path
    return None
