"""A secret is in the guest's file and nowhere else: not in what commands print, nor in what they leave.

Three canaries of twelve letters, one from each kind of place, are looked for in every form in which somebody
could have written them: plain, in base64 and hex, and as the digests that a search could look up.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import string
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import PROJECT
from tests.disk.ext4_tools import debugfs
from tests.projects import merge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE_BYTES = 4096
EMPTY = bytes(PAGE_BYTES)
MANIFEST = """\
[image.small.rootfs]
directory = "tree"
size = "16MiB"
[vm.web]
image = "small"
work = {{ size = "16MiB" }}
[[vm.web.file]]
guest = "/etc/variable"
content = {{ env = "CANARY" }}
mode = "0644"
[[vm.web.file]]
guest = "~/file"
content = {{ file = "../outside/canary" }}
[[vm.web.file]]
guest = "/etc/command"
content = {{ command = ["{python}", "-c", "{script}"] }}
mode = "0644"
[[vm.web.file]]
guest = "/etc/plain"
content = "plain\\n"
{more}"""
SCRIPT = "import sys; print(open('../outside/printed').read(), end=''); print('note', file=sys.stderr)"
RUN = """
import os, sys
def seen(event, arguments):
    if event == "subprocess.Popen":
        print("started:", *map(os.fsdecode, arguments[1]), file=sys.stderr)
sys.addaudithook(seen)
if {crashes}:
    from bangerbuild.disk import ext4
    def write_file(*arguments, **options):
        raise RuntimeError(f"a bug: {{arguments[0]}}")
    ext4.Filesystem.write_file = write_file
from bangerbuild.cli import run
for arguments in {commands}:
    sys.argv[1:] = arguments
    code = run()
    if code != {code}:
        sys.exit(f"{{arguments}} ended with {{code}}")
"""
"""The command line as a process that says which programs it starts, and with which arguments."""


def forms(secret: str) -> dict[str, bytes]:
    """What would give a secret away."""
    data = secret.encode()
    found = {"plain": data, "hex": data.hex().encode(), "HEX": data.hex().upper().encode()}
    for shift in range(3):  # base64 of a text with this one in the middle of it
        found[f"base64 {shift}"] = base64.b64encode(bytes(shift) + data)[4 * (shift > 0) : -4]
    for name in ("sha256", "sha1", "md5"):
        for end in (b"", b"\n"):
            digest = hashlib.new(name, data + end)
            found |= {
                f"{name}{end!r}": digest.hexdigest().encode(),
                f"{name}{end!r} bytes": digest.digest(),
                f"{name}{end!r} base64": base64.b64encode(digest.digest())[:20],
            }
    return found


def without_holes(path: Path) -> bytes:
    """What a file holds, without its empty pages: a disk has little else."""
    data = path.read_bytes()
    pages = (data[at : at + PAGE_BYTES] for at in range(0, len(data), PAGE_BYTES))
    return b"".join(page for page in pages if page != EMPTY[: len(page)])


class Setting:
    """A project with a home of its own, and the secrets outside of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.project = directory / "project"
        (self.project / "tree/etc").mkdir(parents=True)
        (self.project / "tree/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
        (directory / "outside").mkdir()
        for name in ("home", "tmp"):
            (directory / "project" / name).mkdir()
        self.said = b""
        self.secrets: list[str] = []

    def write(self, more: str = "") -> None:
        text = MANIFEST.format(python=sys.executable, script=SCRIPT, more=more)
        (self.project / "vm.toml").write_text(text)

    def change(self) -> list[str]:
        """Give each secret another value."""
        new = ["".join(secrets.choice(string.ascii_letters) for _ in range(12)) for _ in range(3)]
        self.secrets += new
        (self.directory / "outside/canary").write_text(new[1])
        (self.directory / "outside/printed").write_text(new[2])
        return new

    def run(self, *commands: str, code: int = 0, crashes: bool = False) -> bytes:
        """Commands, one after the other, each with this exit code; both of their streams are remembered."""
        environment = os.environ | {
            "PYTHONPATH": str(PROJECT),
            "HOME": str(self.project / "home"),
            "TMPDIR": str(self.project / "tmp"),
            "CANARY": self.secrets[-3],
        }
        listed = [command.split() for command in commands]
        command = [sys.executable, "-c", RUN.format(commands=listed, code=code, crashes=crashes)]
        done = subprocess.run(command, cwd=self.project, env=environment, capture_output=True, check=False)
        self.said += done.stdout + done.stderr
        assert crashes or done.returncode == 0, done.stderr.decode()
        return done.stdout

    def left(self) -> Iterator[tuple[str, bytes]]:
        """Every file of the project, its home and its temporary directory, and every name."""
        for path in sorted(self.project.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self.project)), without_holes(path)

    def found(self) -> set[tuple[str, str]]:
        """Where a secret was found, and in which form."""
        texts = [*self.left(), ("what was said", self.said)]
        return {
            (place, form)
            for secret in self.secrets
            for form, needle in forms(secret).items()
            for place, text in texts
            if needle in text
        }


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def test_a_secret_is_in_the_guests_file_and_nowhere_else(setting: Setting, tmp_path: Path) -> None:
    setting.write()
    variable, file, printed = setting.change()
    forms_of_plans = ("plan --format markdown", "plan --format github", "plan --out saved.plan")
    setting.run("plan", *forms_of_plans, "apply -v saved.plan", "plan --json", "apply --json")
    graphs = ("graph --format json", "graph --format html", "graph --format svg", "explain vm.web --json")
    setting.run("status --json", "verify --json", *graphs, "validate", "show vm.web", "show --json", "gc")
    disks = {"build/vms/web/root.cow", "build/vms/web/work.ext4"}
    assert setting.found() == {(disk, "plain") for disk in disks}
    web = setting.project / "build/vms/web"
    (image,) = setting.project.glob("build/images/*/*/rootfs.ext4")
    root = merge(image, web / "root.cow", tmp_path / "merged.ext4")
    assert debugfs(root, "cat /etc/variable").decode() == variable
    assert debugfs(root, "cat /etc/command").decode() == printed
    assert debugfs(web / "work.ext4", "cat /file").decode() == file
    assert b"0644" in debugfs(root, "stat /etc/variable")
    assert b"0600" in debugfs(web / "work.ext4", "stat /file")


def test_a_secret_that_changes_or_leaves_is_in_no_diff_record_error_or_traceback(setting: Setting) -> None:
    setting.write()
    first = setting.change()
    setting.run("apply -q")
    setting.change()
    told = setting.run("plan -v", "plan --json", "plan")
    assert told.count(b"/etc/variable: changes (contents not shown)") == 2
    setting.run("apply --json", crashes=True)
    assert b"RuntimeError: a bug" in setting.said
    plain = setting.project / "vm.toml"
    plain.write_text(plain.read_text().replace('{ env = "CANARY" }', '"plain again\\n"'))
    assert b"/etc/variable: changes (contents not shown)" in setting.run("plan")
    setting.write('owner = "nobody-there:root"\n')  # of the last file: the run of the patch would fail
    setting.run("apply -v", "apply --json", code=1)
    places = {place for place, form in setting.found() if form == "plain"}
    assert {form for _, form in setting.found()} == {"plain"}
    assert places == {"build/vms/web/root.cow", "build/vms/web/work.ext4"}
    assert all(secret.encode() not in setting.said for secret in first)
