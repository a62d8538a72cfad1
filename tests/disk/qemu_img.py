"""qemu-img, which judges qcow2 files and reads them in its own way."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


def checked(disk: Path) -> dict[str, object]:
    """What qemu-img says of a file in which it finds nothing wrong."""
    command = [need("qemu-img", "qemu-utils"), "check", "--output=json", str(disk)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def converted(disk: Path, target: Path) -> Path:
    """The whole disk as a raw file."""
    tool = need("qemu-img", "qemu-utils")
    subprocess.run([tool, "convert", "-O", "raw", str(disk), str(target)], check=True)
    return target
