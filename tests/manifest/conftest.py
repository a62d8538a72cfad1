"""The directory in which manifests are loaded."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.manifest.loading import PRIVATE_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with what the manifests of these tests name: the good and the bad."""
    monkeypatch.chdir(tmp_path)
    Path("root.tar").touch()
    Path("disk.ext4").touch()
    os.truncate("disk.ext4", 64 << 20)
    Path("tree").mkdir()
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("id").write_text(PRIVATE_KEY)
    Path("id.ppk").write_text("PuTTY-User-Key-File-3: ssh-ed25519\n")
    Path("no.pub").write_text("# a comment\nhello\n")
    Path("empty.pub").write_text("# a comment\n\n")
    Path("binary.pub").write_bytes(b"\xff\xfe")
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        yield tmp_path
