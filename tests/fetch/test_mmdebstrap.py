"""Tarballs of packages, made by the real mmdebstrap of a repository on this disk."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FetchError, OfflineError
from bangerbuild.fetch.cache import Cache
from bangerbuild.fetch.mmdebstrap import RECENT_SECONDS, Made, make, versions_in
from bangerbuild.fetch.mmdebstrap_program import Suite, command
from tests import PROJECT
from tests.fetch.repository import add_package
from tests.fetch.server import file, running
from tests.need import need
from tests.projects import write_tar
from tests.unprivileged import let_others_in

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH = 946_684_800
INSTALLED = ("--mode=chrootless", "--variant=custom")
"""Installs packages that have no scripts without anything else in the chroot; who runs it does not matter."""
EXTRACTED = ("--variant=extract",)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With two packages, and as it stays."""
    need("mmdebstrap")
    path = tmp_path_factory.mktemp("repository")
    add_package(path, "hello", "1.0")
    add_package(path, "world", "1.0", depends="hello")
    return path


@pytest.fixture(scope="module")
def reference(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """What mmdebstrap makes of it in plain surroundings."""
    with Cache(tmp_path_factory.mktemp("reference")) as cache:
        yield made(tiny(repository), cache)


def tiny(repository: Path, *packages: str, arguments: tuple[str, ...] = INSTALLED) -> Suite:
    return Suite("tiny", packages or ("world",), f"deb [trusted=yes] copy:{repository} ./", arguments)


def made(suite: Suite, cache: Cache, pin: Made | None = None, epoch: int = EPOCH) -> Made:
    sha256, versions = (pin.blob.digest, pin.versions) if pin else (None, None)
    return make(suite, cache=cache, epoch=epoch, sha256=sha256, versions=versions)


def refusal(suite: Suite, cache: Cache, pin: Made | None = None, epoch: int = EPOCH) -> FetchError:
    """The one error that making it gives; nothing is left of it."""
    with pytest.raises(FetchError) as caught:
        made(suite, cache, pin, epoch)
    assert caught.value.brief.startswith(f"'mmdebstrap {suite.name}' ")
    assert cache.usage().files == 0
    return caught.value


def names_in(tarball: Path) -> set[str]:
    with tarfile.open(tarball) as archive:
        return {member.name for member in archive}


def text_in(tarball: Path, name: str) -> bytes:
    with tarfile.open(tarball) as archive:
        found = archive.extractfile(name)
        assert found is not None
        return found.read()


# what comes out


def test_packages_come_with_what_they_depend_on(reference: Made) -> None:
    expected = {"./usr/share/hello/text", "./usr/share/world/text", "./var/lib/dpkg/status"}
    assert expected <= names_in(reference.blob.path)


def test_nothing_of_the_host_is_in_it(reference: Made) -> None:
    names = names_in(reference.blob.path)
    assert not {name for name in names if name.endswith(("hostname", "resolv.conf"))}


def test_a_pinned_tarball_that_is_in_no_cache_is_made_again_with_the_same_bytes(
    repository: Path, reference: Made, cache: Cache, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"  # where apt's own user may not go
    elsewhere.mkdir()
    before = os.umask(0o077)
    try:
        pinned = reference.blob.digest
        environ = {"TMPDIR": str(elsewhere)}
        again = make(tiny(repository), cache=cache, epoch=EPOCH, sha256=pinned, environ=environ)
    finally:
        os.umask(before)
    assert (again.blob.digest, again.versions) == (pinned, reference.versions)


def test_hooks_of_the_user_s_see_the_host_s_name_and_may_give_another(repository: Path, cache: Cache) -> None:
    hook = '--customize-hook=cp "$1/etc/hostname" "$1/etc/name"; echo mine > "$1/etc/hostname"'
    tarball = made(tiny(repository, arguments=(*INSTALLED, hook)), cache).blob.path
    assert text_in(tarball, "./etc/name").startswith(Path("/etc/hostname").read_bytes())
    assert text_in(tarball, "./etc/hostname") == b"mine\n"
    assert "./etc/resolv.conf" not in names_in(tarball)


# pins


def test_a_pinned_tarball_comes_from_the_cache(reference: Made) -> None:
    with Cache(reference.blob.path.parents[2]) as cache:
        nowhere = Suite("tiny", ("world",), "http://nowhere.invalid", INSTALLED)
        assert made(nowhere, cache, reference) == reference
        sha256 = reference.blob.digest
        assert make(nowhere, cache=cache, epoch=EPOCH, sha256=sha256, offline=True).blob == reference.blob


def test_a_suite_that_moved_on_is_not_the_pinned_one(reference: Made, cache: Cache, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    add_package(moved, "hello", "2.0")
    add_package(moved, "world", "1.0", depends="hello")
    error = refusal(tiny(moved), cache, reference)
    assert "gives other versions than the lock file has" in error.brief
    assert error.hint is not None
    assert "lock --upgrade" in error.hint


def test_the_same_packages_in_other_bytes_are_not_the_pinned_ones(
    repository: Path, reference: Made, cache: Cache
) -> None:
    error = refusal(tiny(repository), cache, reference, EPOCH - 1)
    assert "gives another tarball of the same packages" in error.brief


def test_versions_are_those_of_what_is_installed(tmp_path: Path) -> None:
    hello = "Package: hello\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0\n"
    gone = hello.replace("hello", "gone").replace("ok installed", "ok config-files")
    world = hello.replace("hello", "world") + "Description: says\n Version: 7.0\n"
    same = [
        versions_in(write_tar(tmp_path / "1", {"var/lib/dpkg/status": status}), "a tarball")
        for status in (f"{hello}\n{world}\n", f"{world}\n{gone}\n{hello}")
    ]
    assert same[0] == same[1]
    newer = write_tar(tmp_path / "2", {"var/lib/dpkg/status": f"{hello}\n{world}".replace("1.0", "2.0")})
    assert versions_in(newer, "a tarball") != same[0]


def test_what_a_plan_has_had_made_will_do_for_the_apply_after_it(cache: Cache, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    add_package(moved, "hello", "1.0")
    suite = Suite("tiny", ("hello",), f"deb [trusted=yes] copy:{moved} ./", INSTALLED)
    first = make(suite, cache=cache, epoch=EPOCH, recent=True)
    add_package(moved, "hello", "2.0")
    assert make(suite, cache=cache, epoch=EPOCH, recent=True).blob.digest == first.blob.digest
    assert make(suite, cache=cache, epoch=EPOCH).blob.digest != first.blob.digest, "an upgrade asks anew"


@pytest.mark.parametrize("age_seconds", [RECENT_SECONDS + 60, -60])
def test_what_was_made_long_ago_or_in_the_future_will_not_do(
    cache: Cache, tmp_path: Path, age_seconds: int
) -> None:
    moved = tmp_path / "moved"
    add_package(moved, "hello", "1.0")
    suite = Suite("tiny", ("hello",), f"deb [trusted=yes] copy:{moved} ./", INSTALLED)
    first = make(suite, cache=cache, epoch=EPOCH, recent=True)
    (answer,) = cache.urls.iterdir()
    then = time.time() - age_seconds
    os.utime(answer, (then, then))
    add_package(moved, "hello", "2.0")
    assert make(suite, cache=cache, epoch=EPOCH, recent=True).blob.digest != first.blob.digest


def test_offline_nothing_is_made(repository: Path, cache: Cache) -> None:
    with pytest.raises(OfflineError, match=r"'mmdebstrap tiny' is not in the cache"):
        make(tiny(repository), cache=cache, epoch=EPOCH, offline=True)
    assert not cache.path.exists()


# failures


def test_an_unknown_package_is_told(repository: Path, cache: Cache) -> None:
    error = refusal(tiny(repository, "hello", "goodbye"), cache)
    assert error.brief == "'mmdebstrap tiny' has not all of these packages"
    assert "goodbye" in str(error.details)


def test_a_repository_that_nobody_signed_is_told(repository: Path, cache: Cache) -> None:
    suite = Suite("tiny", ("hello",), f"deb copy:{repository} ./", INSTALLED)
    assert "signed by somebody unknown" in refusal(suite, cache).brief


def test_an_option_that_mmdebstrap_does_not_know_is_shown(repository: Path, cache: Cache) -> None:
    error = refusal(tiny(repository, arguments=("--no-such-option",)), cache)
    assert error.brief == "'mmdebstrap tiny' can't be made"
    assert error.details == "Unknown option: no-such-option"


def subordinate_user() -> str | None:
    """A user who has further user ids."""
    try:
        owners = {line.split(":")[0] for line in Path("/etc/subuid").read_text().splitlines()}
    except FileNotFoundError:
        return None
    return next((entry.pw_name for entry in pwd.getpwall() if entry.pw_name in owners), None)


SCRIPT = """
import os, sys
from pathlib import Path
from bangerbuild.fetch.cache import Cache
from bangerbuild.fetch.mmdebstrap_program import Suite, choose_mode
from bangerbuild.fetch.mmdebstrap import make
mirror, cache = sys.argv[1:]
suite = Suite("tiny", ("world",), mirror, ("--variant=extract",))
print(choose_mode(), make(suite, cache=Cache(Path(cache)), epoch=946684800).blob.digest)
"""


@pytest.mark.root
def test_without_root_it_is_the_same_bytes(cache: Cache, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    add_package(repository, "world", "1.0")
    user = subordinate_user()
    if os.geteuid() != 0 or user is None:
        pytest.skip("nobody here has a line in /etc/subuid, or we are not root")
    let_others_in(tmp_path)
    for path in (*repository.rglob("*"), repository):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    suite = tiny(repository, arguments=EXTRACTED)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, pwd.getpwnam(user).pw_uid, -1)
    as_user = [
        need("setpriv"),
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        sys.executable,
        "-c",
        SCRIPT,
    ]
    done = subprocess.run(
        [*as_user, str(suite.mirror), str(theirs / "cache")],
        cwd=PROJECT,
        env={**os.environ, "HOME": str(theirs)},
        capture_output=True,
        text=True,
        check=False,
    )
    own = made(suite, cache).blob
    assert done.stdout.split() == ["unshare", own.digest], done.stderr
    assert not {name for name in names_in(own.path) if name.endswith(("hostname", "resolv.conf"))}


def test_a_mirrors_password_is_told_to_apt_alone(repository: Path, cache: Cache) -> None:
    """It is sent, and neither in the command nor in the tarball."""
    with running() as web:
        for path in (*repository.glob("*.deb"), repository / "Packages", repository / "Release"):
            web.says(file(path.read_bytes()), path=f"/./{path.name}")
        address = web.url("/").replace("//", "//me:pass%2Fword@")
        suite = Suite("tiny", ("world",), f"deb [trusted=yes] {address} ./", INSTALLED)
        argv = command(suite, Path("target"), mode="root", epoch=EPOCH, environ={}).argv
        assert not any("word@" in word or "%2F" in word for word in argv)
        tarball = made(suite, cache).blob.path
        asked = {one.path: one.headers["Authorization"] for one in web.asked}
        assert asked["/./world.deb"] == "Basic bWU6cGFzcy93b3Jk"
    assert web.url("/").encode() in text_in(tarball, "./etc/apt/sources.list")
    assert "./etc/apt/auth.conf" not in names_in(tarball)
    assert b"pass/word" not in tarball.read_bytes()
    assert b"pass%2Fword" not in tarball.read_bytes()
