"""`lock`, `--locked` and `--offline` as users and CI meet them: words, exit codes, no request too many."""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING

import pytest

from bangerbuild.uptodate import check, record
from bangerbuild.uptodate.command import asked
from tests import PROJECT
from tests.projects import DEBIAN, write_tar
from tests.web import Web, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import CommandLine

HEAD = "# What the manifest's sources stand for. Made by bangerbuild; keep it in git.\nversion = 1\n"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server of the files in `served`; the user's cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    write_tar(tmp_path / "served/a.tar", DEBIAN)
    write_tar(tmp_path / "served/b.tar", {**DEBIAN, "b": ""})
    with serving(tmp_path / "served") as web:
        yield web


@pytest.fixture
def project(tmp_path: Path, web: Web) -> Path:
    """Two images of downloads, and one of a tarball of the host."""
    directory = tmp_path / "project"
    directory.mkdir()
    write_tar(directory / "root.tar", DEBIAN)
    (directory / "vm.toml").write_text(
        "".join(f'[image.{name}.rootfs]\nurl = "{web.url(f"{name}.tar")}"\n' for name in "ab")
        + '[image.c.rootfs]\ntar = "root.tar"\n'
    )
    return directory


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def entry(name: str, words: str, digest: str) -> str:
    return f'\n[image.{name}.rootfs]\n{words}\nsha256 = "{digest}"\n'


def move(project: Path, name: str) -> tuple[str, str]:
    """Serve something else under an address; the digests before and after."""
    path = project.parent / "served" / name
    before = sha256(path)
    write_tar(path, {**DEBIAN, "moved": name})
    return before, sha256(path)


def lock_of(project: Path) -> str:
    return (project / "bangerbuild.lock").read_text()


def test_lock_writes_everything_down_and_then_has_nothing_to_do(
    cli: CommandLine, project: Path, web: Web
) -> None:
    done = cli("lock", cwd=project)
    digests = [sha256(project.parent / f"served/{name}.tar") for name in "ab"]
    own = sha256(project / "root.tar")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"  add     image.a.rootfs  url {web.url('a.tar')}, sha256 {digests[0][:12]}\n"
        f"  add     image.b.rootfs  url {web.url('b.tar')}, sha256 {digests[1][:12]}\n"
        f"  add     image.c.rootfs  tar root.tar, sha256 {own[:12]}\n"
        "bangerbuild.lock: 3 sources\n"
    )
    assert lock_of(project) == (
        HEAD
        + entry("a", f'url = "{web.url("a.tar")}"', digests[0])
        + entry("b", f'url = "{web.url("b.tar")}"', digests[1])
        + entry("c", 'tar = "root.tar"', own)
    )
    asked = len(web.requests)
    assert cli("lock", cwd=project).stdout == "Nothing to do: 3 sources locked.\n"
    assert len(web.requests) == asked


def test_apply_adds_what_is_missing_and_never_moves_what_is_there(
    cli: CommandLine, project: Path, web: Web
) -> None:
    assert cli("apply", cwd=project).returncode == 0
    before = lock_of(project)
    assert "image.c" not in before
    move(project, "a.tar")
    done = cli("apply", cwd=project)
    assert (done.returncode, done.stdout.startswith("3 kept")) == (0, True)
    assert lock_of(project) == before
    assert sorted(web.requests) == ["/a.tar", "/b.tar"]


def test_a_run_with_nothing_to_do_makes_no_request_even_without_a_lock_file(
    cli: CommandLine, project: Path, web: Web
) -> None:
    assert cli("apply", cwd=project).returncode == 0
    before = lock_of(project)
    (project / "bangerbuild.lock").unlink()
    web.requests.clear()
    assert cli("plan", "--detailed-exitcode", cwd=project).returncode == 0
    assert cli("apply", cwd=project).returncode == 0
    assert (web.requests, lock_of(project)) == ([], before)


def test_a_run_that_wrote_the_lock_file_is_the_ground_for_the_next_while_the_file_stays(
    cli: CommandLine, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    assert cli("apply", cwd=project).returncode == 0
    question = asked(["apply"])
    assert question is not None
    remembered = record.found(question.key)
    assert remembered is not None
    assert check.stands(remembered)
    (project / "bangerbuild.lock").unlink()
    assert not check.stands(remembered)


def test_an_upgrade_moves_what_has_moved_and_says_so(cli: CommandLine, project: Path) -> None:
    cli("lock", cwd=project)
    old, new = move(project, "a.tar")
    done = cli("lock", "--upgrade", cwd=project)
    assert done.stdout == (
        f"  move    image.a.rootfs  sha256 {old[:12]} -> {new[:12]}\nbangerbuild.lock: 3 sources\n"
    )
    assert new in lock_of(project)


def test_an_upgrade_of_one_image_leaves_the_others(cli: CommandLine, project: Path) -> None:
    cli("lock", cwd=project)
    old, new = move(project, "a.tar")
    done = cli("lock", "--upgrade", "b", cwd=project)
    assert done.stdout == "Nothing to do: 3 sources locked.\n"
    assert old in lock_of(project)
    assert new not in lock_of(project)


def test_a_moved_entry_makes_a_new_image(cli: CommandLine, project: Path) -> None:
    cli("apply", cwd=project)
    move(project, "a.tar")
    cli("lock", "--upgrade", "a", cwd=project)
    done = cli("plan", cwd=project)
    assert "create  image.a.rootfs" in done.stdout
    assert "image.b" not in done.stdout


@pytest.mark.parametrize(("name", "hint"), [("d", "known: a, b, c"), ("xyz", "known: a, b, c")])
def test_an_upgrade_of_no_image_is_refused_with_the_way_out(
    cli: CommandLine, project: Path, name: str, hint: str
) -> None:
    done = cli("lock", "--upgrade", name, cwd=project)
    assert done.returncode == 3
    assert done.stderr == f"error: no image is called '{name}'\n  hint: {hint}\n"


def test_an_upgrade_takes_a_manifest_for_a_manifest(cli: CommandLine, project: Path) -> None:
    cli("lock", cwd=project)
    move(project, "a.tar")
    done = cli("lock", "--upgrade", "vm.toml", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "move    image.a.rootfs" in done.stdout


def test_lock_drops_what_the_manifest_no_longer_has(cli: CommandLine, project: Path, web: Web) -> None:
    cli("lock", cwd=project)
    text = (project / "vm.toml").read_text().replace("[image.b.rootfs]", "[image.new.rootfs]")
    (project / "vm.toml").write_text(text.replace("b.tar", "a.tar"))
    done = cli("lock", cwd=project)
    assert [line.split()[:2] for line in done.stdout.splitlines()[:-1]] == [
        ["drop", "image.b.rootfs"],
        ["add", "image.new.rootfs"],
    ]
    assert web.requests.count("/a.tar") == 1


def test_locked_takes_a_full_lock_file_and_refuses_one_that_lacks_something(
    cli: CommandLine, project: Path, web: Web
) -> None:
    done = cli("apply", "--locked", cwd=project)
    assert done.returncode == 3
    assert done.stderr == (
        "error: bangerbuild.lock would have to be changed for image.a.rootfs, image.b.rootfs\n"
        "  hint: bangerbuild lock\n"
    )
    assert (web.requests, (project / "build").exists()) == ([], False)
    cli("lock", cwd=project)
    assert cli("apply", "--locked", cwd=project).returncode == 0
    assert cli("plan", "--locked", "--detailed-exitcode", cwd=project).returncode == 0


def test_a_tarball_that_is_not_the_locked_one_is_refused_with_the_way_out(
    cli: CommandLine, project: Path
) -> None:
    cli("lock", cwd=project)
    write_tar(project / "root.tar", {"other": ""})
    for command in ("plan", "apply", "lock"):
        done = cli(command, cwd=project)
        assert done.returncode == 3
        assert done.stderr == (
            "error: 'root.tar' of image.c.rootfs is not what bangerbuild.lock says\n"
            "  hint: bangerbuild lock --upgrade c, if it is meant to be\n"
        )
    assert cli("lock", "--upgrade", "c", cwd=project).returncode == 0
    assert cli("apply", cwd=project).returncode == 0


def test_offline_what_nobody_remembers_is_refused_by_name(cli: CommandLine, project: Path, web: Web) -> None:
    for command in ("plan", "apply", "lock"):
        done = cli(command, "--offline", cwd=project)
        assert done.returncode == 1
        assert (
            f"'{web.url('a.tar')}' is not in the cache, and --offline lets nothing be fetched" in done.stderr
        )
    assert web.requests == []


def test_offline_all_is_built_that_is_in_the_cache(cli: CommandLine, project: Path, web: Web) -> None:
    cli("lock", cwd=project)
    web.requests.clear()
    assert cli("apply", "--offline", "--locked", cwd=project).returncode == 0
    assert web.requests == []


def test_status_asks_nobody_and_needs_no_lock_file(cli: CommandLine, project: Path, web: Web) -> None:
    done = cli("status", cwd=project)
    assert (done.returncode, web.requests) == (0, [])
    assert done.stdout.count("missing  ") == 3
    assert cli("validate", cwd=project).returncode == 0
    assert cli("graph", cwd=project).returncode == 0
    assert web.requests == []


def test_a_target_asks_only_for_what_it_needs(cli: CommandLine, project: Path, web: Web) -> None:
    assert cli("apply", "--target", "image.b", cwd=project).returncode == 0
    assert web.requests == ["/b.tar"]
    assert "image.a" not in lock_of(project)


def test_a_lock_file_in_conflict_is_told_with_the_line(cli: CommandLine, project: Path) -> None:
    (project / "bangerbuild.lock").write_text("version = 1\n<<<<<<< HEAD\n")
    done = cli("apply", cwd=project)
    assert done.returncode == 3
    assert "line 2: not valid TOML: invalid statement at column 1" in done.stderr


def test_the_lock_file_lies_beside_the_first_manifest_wherever_the_command_is_run(
    cli: CommandLine, project: Path
) -> None:
    assert cli("lock", "project/vm.toml", cwd=project.parent).stdout.endswith(
        "project/bangerbuild.lock: 3 sources\n"
    )


def test_a_store_is_not_made_by_lock(cli: CommandLine, project: Path) -> None:
    cli("lock", cwd=project)
    assert not (project / "build").exists()


def test_what_the_lock_file_pins_is_made_again_and_compared(cli: CommandLine, project: Path) -> None:
    assert cli("apply", "--quiet", cwd=project).returncode == 0
    done = cli("verify", "--rebuild", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("made again, it has the same bytes") == 3
    assert "not compared" not in done.stdout


def test_what_moved_since_is_still_made_again_as_it_was_pinned(cli: CommandLine, project: Path) -> None:
    assert cli("apply", "--quiet", cwd=project).returncode == 0
    move(project, "a.tar")
    done = cli("verify", "--rebuild", "--target", "image.a", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("made again, it has the same bytes") == 1


def test_lock_leaves_what_another_manifest_of_the_directory_put_there(
    cli: CommandLine, project: Path
) -> None:
    text = (project / "vm.toml").read_text()
    (project / "two.toml").write_text(text.replace("image.b", "image.two"))
    assert cli("lock", cwd=project).returncode == 0
    assert cli("lock", "two.toml", cwd=project).returncode == 0
    entries = tomllib.loads((project / "bangerbuild.lock").read_text())["image"]
    assert entries.keys() == {"a", "b", "c", "two"}
    (project / "two.toml").unlink()
    assert cli("lock", cwd=project).returncode == 0
    entries = tomllib.loads((project / "bangerbuild.lock").read_text())["image"]
    assert entries.keys() == {"a", "b", "c"}
