"""A file_sync's host tree is walked once for a plan and its jobs, and once more before publishing."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.hostfile import HostContent
from bangerbuild.steps import patching

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.projects import Project

HEAD = """\
[image.debian]
rootfs.tar = "root.tar"
[defaults]
work = false
"""


def vm(name: str, root: str = "snapshot") -> str:
    return f"""\
[vm.{name}]
image = "debian"
root.format = "{root}"
[[vm.{name}.file_sync]]
host = "site"
guest = "/srv/site"
"""


@pytest.fixture
def site(debian: Project) -> Project:
    """Eight VMs with one tree of three directories."""
    for path in ("site/a/b/one", "site/a/two", "site/three"):
        (debian.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (debian.directory / path).write_text(path)
    debian.write(HEAD + "".join(vm(f"v{n}", "raw" if n % 2 else "snapshot") for n in range(8)))
    return debian


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each directory was listed."""
    counts: Counter[str] = Counter()
    listdir = os.listdir

    def counted(path: int | str = ".") -> list[str]:
        if isinstance(path, int):
            counts[str(Path(f"/proc/self/fd/{path}").readlink())] += 1
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counted)
    return counts


def of_tree(listed: Counter[str], site: Project) -> dict[str, int]:
    top = str(site.directory)
    return {path.removeprefix(f"{top}/"): n for path, n in listed.items() if path.startswith(f"{top}/site")}


TREE = ("site", "site/a", "site/a/b")


@pytest.mark.parametrize(("is_settled", "walks"), [(True, 1), (False, 2)])
def test_for_many_vms_a_tree_is_walked_once_and_again_only_where_stat_cant_tell(
    site: Project, listed: Counter[str], monkeypatch: pytest.MonkeyPatch, walks: int, *, is_settled: bool
) -> None:
    """A file that was changed just now may be changed again without a trace in its times."""
    monkeypatch.setattr("bangerbuild.formats.survey.is_settled", lambda _found: is_settled)
    monkeypatch.setattr("bangerbuild.execute.BATCH_IDLE_SECONDS", 60.0)
    monkeypatch.setattr("bangerbuild.execute.BATCH_MOST_SECONDS", 60.0)
    site.build()  # the image first, and then all VMs at once
    assert of_tree(listed, site) == dict.fromkeys(TREE, walks)
    listed.clear()
    (site.directory / "site/three").write_text("changed")
    site.build()
    assert of_tree(listed, site) == dict.fromkeys(TREE, walks)
    for name in ("v0", "v2", "v4", "v6"):
        assert site.guest(name).text("/srv/site/three") == "changed"


def test_a_run_with_nothing_to_do_walks_it_once(site: Project, listed: Counter[str]) -> None:
    site.build()
    listed.clear()
    site.build()
    assert of_tree(listed, site) == dict.fromkeys(TREE, 1)


def test_a_plan_that_shows_what_changes_walks_it_once(site: Project, listed: Counter[str]) -> None:
    site.build()
    (site.directory / "site/three").write_text("changed")
    listed.clear()
    action = site.plan()["vm.v0.root.patch"]
    assert [diff.guest for diff in action.diffs] == ["/srv/site/three"]
    assert of_tree(listed, site) == dict.fromkeys(TREE, 1)


def test_what_is_known_to_be_in_the_guest_is_not_read_again(
    site: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.build()
    (site.directory / "site/three").write_text("changed")
    read: list[str] = []
    pread = os.pread

    def noted(fd: int, length: int, offset: int) -> bytes:
        read.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        return pread(fd, length, offset)

    os.utime(site.directory / "site/three", (1, 1))
    monkeypatch.setattr(os, "pread", noted)
    site.plan()
    assert str(site.directory / "site/a/two") not in read


MEDDLING: dict[str, Callable[[Path], object]] = {
    "a file more": lambda top: (top / "a/b/more").write_text("more"),
    "a file less": lambda top: (top / "a/b/one").unlink(),
    "a directory more": lambda top: (top / "a/c").mkdir(),
    "other content": lambda top: (top / "a/two").write_text("other"),
    "content of the same size": lambda top: same_size(top / "a/two"),
    "another mode": lambda top: (top / "a/two").chmod(0o600),
    "renamed": lambda top: (top / "a/two").rename(top / "a/deux"),
}


def same_size(path: Path) -> None:
    """Other bytes, and the times put back as far as that goes."""
    before = path.stat()
    path.write_text(path.read_text().swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(params=["before", "after"])
def meddled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """Is done once, before or after a tree is written into the first guest."""
    todo: list[Callable[[], object]] = []
    sync = patching.sync

    def meddling(*arguments: object, **options: object) -> dict[str, str]:
        if request.param == "before":
            do()
        lines = sync(*arguments, **options)  # type: ignore[arg-type]  # passed through
        do()
        return lines

    def do() -> None:
        if todo:
            todo.pop()()

    monkeypatch.setattr(patching, "sync", meddling)
    return todo


@pytest.mark.parametrize("change", MEDDLING)
def test_a_tree_that_changes_between_plan_and_publishing_is_noticed(
    site: Project, meddled: list[Callable[[], object]], change: str
) -> None:
    meddled.append(lambda: MEDDLING[change](site.directory / "site"))
    results = site.apply()
    for number in range(8):
        error = results[f"vm.v{number}.root.patch"].error
        assert isinstance(error, SourceError)
        assert "while it was read" in error.brief
    assert not list(site.store.glob("vms/*/root.*"))
    site.build()
    site.guest("v0").assert_clean()


def test_what_is_written_is_compared_with_the_survey_whatever_stat_says(
    site: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change within one tick of the clock leaves the stat as it was."""
    monkeypatch.setattr(HostContent, "_check_same", lambda *_: None)
    sync = patching.sync

    def meddled(*arguments: object, **options: object) -> dict[str, str]:
        same_size(site.directory / "site/a/two")
        return sync(*arguments, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(patching, "sync", meddled)
    site.write(HEAD + vm("web"))
    error = site.apply()["vm.web.root.patch"].error
    assert isinstance(error, SourceError)
    assert error.brief == "'site/a/two' changed while it was read"


@pytest.mark.parametrize("change", ["content of the same size", "a file less"])
def test_a_guests_disk_stays_as_it_was_if_its_tree_changes_while_it_is_patched(
    site: Project, meddled: list[Callable[[], object]], change: str
) -> None:
    site.write(HEAD + vm("web"))
    site.build()
    with site.as_guest() as disk:
        disk.write_file("/guests", b"precious")
    for path in ("a/two", "a/b/one"):
        (site.directory / "site" / path).write_text("second")
    meddled.append(lambda: MEDDLING[change](site.directory / "site"))
    error = site.apply()["vm.web.root.patch"].error
    assert isinstance(error, SourceError)
    site.build()
    guest = site.guest()
    guest.assert_clean()
    assert guest.text("/guests") == "precious"
    for path in ("a/two", "a/b/one"):
        declared = site.directory / "site" / path
        assert guest.exists(f"/srv/site/{path}") == declared.exists()
        assert not declared.exists() or guest.text(f"/srv/site/{path}") == declared.read_text()
    assert {action.verb.value for action in site.plan().values()} == {"keep"}
