"""A password in an address: not in what is printed, not in any file, and in no list of processes.

One canary stands in each place of a manifest, a command line or the environment that takes an address,
written in each way in which people write one. Everything that the commands print and leave behind is looked
through.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild import cli
from bangerbuild.host import process
from tests import PROJECT
from tests.fetch.server import file, redirect, running, status
from tests.projects import DEBIAN, write_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fetch.server import Server

CANARY = "c4n4ry"
FORMS = (
    f"http://me:{CANARY}@HOST/PATH",
    f"http://{CANARY}@HOST/PATH",
    f"http://me:pa%2F{CANARY}@HOST/PATH",
    f"http://me:pa/{CANARY}@HOST/PATH",
    f"http://me:pa@{CANARY}@HOST/PATH",
    f"http://me:1/{CANARY}@HOST/PATH",
    f"http://me:pa?{CANARY}@HOST/PATH",
    f"http://me:pa#{CANARY}@HOST/PATH",
    f"http://me%3A{CANARY}%40HOST/PATH",
    f"http:/me:{CANARY}@HOST/PATH",
    f"http:me:{CANARY}@HOST/PATH",
    f"me:{CANARY}@HOST/PATH",
    f"https://me:{CANARY}@HOST/PATH",
    f"http://me:{CANARY}@[::1/PATH",
    f"http://me:{CANARY}@HOST:99999/PATH",
    f"ftp://me:{CANARY}@HOST/PATH",
    f"http://me:pa {CANARY}@HOST/PATH",
    f"http://me:{CANARY}\uff20HOST/PATH",
)
PLACES = (
    '[image.a.rootfs]\nurl = "{address}"',
    '[image.a.rootfs]\nurl = "{address}"\nsha256 = "' + "0" * 64 + '"',
    '[image.a.rootfs]\ntar = "{address}"',
    '[image.a.rootfs]\ndirectory = "{address}"',
    '[image.a.rootfs]\noci = "{address}"',
    '[image.a.rootfs]\noci = "docker://me:CANARY@HOST/name:1"'.replace("CANARY", CANARY),
    '[image.a.rootfs]\nmmdebstrap = {{ suite = "sid", mirror = "{address}" }}',
    '[image.a.rootfs]\nmmdebstrap = {{ suite = "sid", mirror = "deb {address} sid main" }}',
    '[image.a]\nkernel = {{ url = "{address}" }}\nrootfs.tar = "good.tar"',
    '[image.a]\nkernel = "{address}"\nrootfs.tar = "good.tar"',
    'include = ["{address}"]',
    '[image.a.rootfs]\nmmdebstrap.suite = "{address}"',
    '[image.a.rootfs]\noci = "oci-archive:{address}"',
    '[cache]\npull = ["docker://{address}"]\n[image.a.rootfs]\ntar = "good.tar"\nsize = "{address}"',
    '[image.a.rootfs]\nurll = "{address}"',
    '[image."{address}".rootfs]\ntar = "good.tar"',
)
FAKE = """#!{python}
import os, sys
with open({seen!r}, "a") as seen:
    print(sys.argv, open(f"/proc/{{os.getpid()}}/cmdline").read(), file=seen)
print("fatal: " + " ".join(sys.argv[1:]), file=sys.stderr)
sys.exit(1)
"""
"""In the place of skopeo and mmdebstrap: it writes down what anybody sees of its arguments, and fails."""


class Setting:
    """A project with a home of its own, and what was seen of programs that were started."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        self.server = server
        self.project = directory / "project"
        self.project.mkdir()
        self.home = directory / "home"
        self.home.mkdir()
        write_tar(self.project / "good.tar", DEBIAN)
        self.seen = directory / "seen"
        programs = directory / "bin"
        programs.mkdir()
        for name in ("skopeo", "mmdebstrap"):
            (programs / name).write_text(FAKE.format(python=sys.executable, seen=str(self.seen)))
            (programs / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }

    def write(self, text: str, form: str, path: str) -> None:
        address = form.replace("HOST", f"127.0.0.1:{self.server.port}").replace("PATH", path)
        whole = text.replace("HOST", f"127.0.0.1:{self.server.port}").format(address=address)
        (self.project / "vm.toml").write_text(f'{whole}\n[vm.a]\nimage = "a"\n')

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "bangerbuild", *arguments],
            cwd=self.project,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        for stream in (done.stdout, done.stderr):
            self.assert_without(stream, f"printed by {arguments}")
        return done

    def assert_kept_nowhere(self) -> None:
        """The manifest, which is its user's, aside."""
        for path in self.directory.rglob("*"):
            self.assert_without(str(path.relative_to(self.directory)), "a name")
            if path.is_file() and path.name != "vm.toml":
                self.assert_without(path.read_bytes().decode("latin-1"), str(path))

    def assert_without(self, text: str, where: str) -> None:
        for secret in (CANARY, base64.b64encode(f"me:{CANARY}".encode()).decode()):
            assert secret not in text, f"{where}: {text[:2000]}"


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def setting(tmp_path: Path, server: Server) -> Setting:
    return Setting(tmp_path, server)


@pytest.fixture
def here(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., int]:
    """Runs a command in this process, where nobody waits before another attempt."""
    monkeypatch.chdir(setting.project)
    for name, value in setting.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(process, "SEARCH_PATH", setting.environment["PATH"])
    monkeypatch.setattr("time.sleep", lambda _seconds: None)

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["bangerbuild", *arguments])
        code = cli._guarded(None)
        for stream in capfd.readouterr():
            setting.assert_without(stream, str(arguments))
        return code

    return run


@pytest.mark.parametrize("text", PLACES)
def test_a_password_that_is_of_no_use_is_shown_and_kept_nowhere(
    setting: Setting, text: str, here: Callable[..., int]
) -> None:
    """Whatever is wrong with the address, its place or its server."""
    for form in FORMS if "{address}" in text else FORMS[:1]:
        setting.write(text, form, "gone")
        assert here("apply", "-v") != 0, form
    setting.assert_kept_nowhere()


def test_commands_that_fail_at_an_address_show_it_nowhere(setting: Setting) -> None:
    setting.write(PLACES[0], FORMS[3], "gone")
    for arguments in (("apply", "--json"), ("validate",), ("lock",), ("apply", "-n"), ("status",)):
        setting.run(*arguments)
    setting.assert_kept_nowhere()


@pytest.mark.parametrize("code", [401, 403, 404, 500])
def test_a_servers_refusal_shows_none(setting: Setting, code: int) -> None:
    setting.server.says(status(code), path="/a.tar")
    setting.write(PLACES[0], FORMS[0], "a.tar?token=x")
    assert setting.run("apply", "-v", "--offline").returncode
    setting.server.says(redirect(f"http://me:{CANARY}@[::1/"), path="/b.tar")
    setting.write(PLACES[0], FORMS[0], "b.tar")
    assert "to what is no address" in setting.run("apply", "-v").stderr
    setting.assert_kept_nowhere()


def kernel_and_root(setting: Setting) -> None:
    (setting.project / "vm.toml").write_text(
        f"""
[image.a.rootfs]
url = "http://me:{CANARY}@127.0.0.1:{setting.server.port}/good.tar"
[vm.a]
image = "a"
"""
    )


def test_a_password_that_is_of_use_is_sent_and_kept_nowhere(setting: Setting) -> None:
    setting.server.says(file((setting.project / "good.tar").read_bytes(), {"ETag": '"1"'}), path="/good.tar")
    kernel_and_root(setting)
    for arguments in (
        *(("plan", "-v"), ("apply", "-v"), ("apply", "--json"), ("plan", "--json"), ("status", "--json")),
        *(("verify", "--rebuild"), ("graph", "--format", "json")),
        *(
            ("lock", "--upgrade"),
            ("recover", "--json"),
            ("gc", "-n"),
            ("destroy", "--target", "vm.a", "--yes"),
        ),
    ):
        done = setting.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    sent = {asked.headers["Authorization"] for asked in setting.server.asked}
    assert sent == {"Basic " + base64.b64encode(f"me:{CANARY}".encode()).decode()}
    setting.assert_kept_nowhere()
    lock = (setting.project / "bangerbuild.lock").read_text()
    assert f'url = "http://127.0.0.1:{setting.server.port}/good.tar"' in lock


def test_a_password_that_an_older_version_wrote_down_is_taken_out(setting: Setting) -> None:
    setting.server.says(file((setting.project / "good.tar").read_bytes()), path="/good.tar")
    kernel_and_root(setting)
    assert setting.run("apply").returncode == 0
    lock = setting.project / "bangerbuild.lock"
    lock.write_text(lock.read_text().replace("http://", f"http://me:{CANARY}@"))
    asked = len(setting.server.asked)
    done = setting.run("apply", "--locked")
    assert (done.returncode, "would have to be changed" in done.stderr) == (3, True)
    assert setting.run("apply").returncode == 0
    assert len(setting.server.asked) == asked
    setting.assert_kept_nowhere()


def test_an_image_that_is_imported_by_an_address_keeps_none(setting: Setting) -> None:
    setting.server.says(file((setting.project / "good.tar").read_bytes()), path="/good.tar")
    address = f"http://me:{CANARY}@127.0.0.1:{setting.server.port}"
    assert setting.run("image", "import", f"{address}/good.tar", "a").returncode == 0
    assert setting.run("image", "show", "a").returncode == 0
    assert setting.run("image", "import", f"{address}/gone.tar", "b").returncode
    assert setting.run("image", "import", f"me:{CANARY}@host/x", "b").returncode
    setting.assert_kept_nowhere()


PROXIES = [f"http://me:{CANARY}@127.0.0.1:1", f"socks5://me:{CANARY}@h", f"me:{CANARY}@127.0.0.1:1"]


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxys_password_is_shown_nowhere(
    setting: Setting, proxy: str, here: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (setting.project / "vm.toml").write_text('[image.a.rootfs]\nurl = "http://nowhere.invalid/a"\n')
    for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    assert here("lock", "--upgrade") != 0
    assert here("apply", "-v") != 0
    setting.assert_kept_nowhere()


def test_this_looks_where_a_password_would_be(setting: Setting) -> None:
    """The search itself finds one: in a file, in a name, in what a program is seen to be started with."""
    (setting.home / "x").write_text(f"a{CANARY}b")
    with pytest.raises(AssertionError):
        setting.assert_kept_nowhere()
    (setting.home / "x").unlink()
    subprocess.run([setting.directory / "bin/skopeo", CANARY], check=False, capture_output=True)
    with pytest.raises(AssertionError):
        setting.assert_kept_nowhere()
    assert shutil.which("skopeo", path=setting.environment["PATH"]) == str(setting.directory / "bin/skopeo")
