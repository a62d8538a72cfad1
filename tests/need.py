"""What a test needs from its host: skipped with a reason where it is missing, failed where CI promises it."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

SYSTEM_DIRECTORIES = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where mke2fs and its kin lie; an ordinary Debian user's PATH does not name them."""

PACKAGES = {
    **dict.fromkeys(("debugfs", "dumpe2fs", "e2fsck", "mke2fs", "resize2fs"), "e2fsprogs"),
    **dict.fromkeys(("findmnt", "prlimit"), "util-linux"),
    "systemd-analyze": "systemd",
}
"""Where a program's package has another name."""


def lacking(reason: str) -> NoReturn:
    """Skip the test and say why; under `CI=true`, where everything has to be there, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def find_tool(name: str) -> str | None:
    """The absolute path of a program of the host, or None."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_DIRECTORIES}")


def need(name: str, package: str | None = None) -> str:
    """The absolute path of a program the test can't do without."""
    return find_tool(name) or lacking(
        f"no {name} here: apt-get install {package or PACKAGES.get(name, name)}"
    )
