"""Roots and work disks that are made in numbers are the ones that are made alone."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli_w

from bangerbuild.disk import deduplication
from bangerbuild.disk.formats.snapshot import Snapshot
from bangerbuild.errors import GuestPathError, SourceError
from bangerbuild.execute import job_template, workspace
from bangerbuild.execute.recheck import Sources
from tests.fakes import FakeHost
from tests.manifests import KEY
from tests.projects import DEBIAN, Disk, write_tar

if TYPE_CHECKING:
    from bangerbuild.model import Source
    from tests.projects import Project

HEAD = f"""\
[image.debian]
rootfs.tar = "root.tar"
work_seed = {{ directory = "seed", size = "16MiB" }}
[defaults]
work.size = "24MiB"
ssh_authorized_keys = ["{KEY}"]
"""


def vm(name: str, *, dns: str = "1.1.1.1", content: str = "x", tree: str = "site", more: str = "") -> str:
    return f"""\
[vm.{name}]
image = "debian"
network = {{ dns = ["{dns}"] }}
[[vm.{name}.file]]
guest = "/etc/motd"
content = "{content}"
[[vm.{name}.file_sync]]
host = "{tree}"
guest = "/srv/site"
{more}
"""


@pytest.fixture
def site(debian: Project) -> Project:
    for path, text in {"seed/.profile": "umask 077\n", "site/a/b": "one\n", "site/c": "two\n" * 900}.items():
        (debian.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (debian.directory / path).write_text(text)
    return debian


def disks(project: Project, name: str) -> tuple[bytes, bytes]:
    directory = project.store / "vms" / name
    return (directory / "root.cow").read_bytes(), (directory / "work.ext4").read_bytes()


@pytest.mark.parametrize("before", [[], ["a", "b", "c"]], ids=["alone", "after others"])
def test_a_vms_disks_do_not_depend_on_those_that_are_made_with_it(site: Project, before: list[str]) -> None:
    others = [vm(name, dns="9.9.9.9", content=name * 20) for name in before]
    site.write(HEAD + "".join((*others, vm("web"), vm("z", content="y" * 5000))))
    site.build()
    built = disks(site, "web")
    site.write(HEAD + vm("web"))
    (site.store / "vms/web/root.cow").unlink()
    (site.store / "vms/web/work.ext4").unlink()
    site.build("vm.web.work")
    assert disks(site, "web") == built


def test_each_of_many_holds_its_own_and_is_clean(site: Project) -> None:
    names = [f"v{number}" for number in range(6)]
    site.write(HEAD + "".join(vm(name, dns=f"10.0.0.{i + 1}", content=name) for i, name in enumerate(names)))
    site.build()
    for number, name in enumerate(names):
        guest, work = site.guest(name), Disk(site.store / f"vms/{name}/work.ext4")
        guest.assert_clean()
        work.assert_clean()
        assert guest.text("/etc/hostname") == f"{name}\n"
        assert guest.text("/etc/motd") == name
        assert f"nameserver 10.0.0.{number + 1}\n" in guest.text("/etc/resolv.conf")
        assert guest.text("/srv/site/a/b") == "one\n"
        assert work.text("/.ssh/authorized_keys") == f"{KEY}\n"
        assert work.text("/.profile") == "umask 077\n"
    assert not site.plan() or all(action.verb.value == "keep" for action in site.plan().values())


def test_work_disks_that_differ_are_no_copies_of_each_other(site: Project) -> None:
    keyed = [
        vm(name, more=f'[[vm.{name}.file]]\nguest = "/root/mine"\ncontent = "{name}"') for name in "abcd"
    ]
    site.write(HEAD + "".join(keyed))
    site.build()
    for name in "abcd":
        assert Disk(site.store / f"vms/{name}/work.ext4").text("/mine") == name


def test_a_disk_that_holds_much_is_not_copied_from_another(
    site: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_template, "MOST_BYTES", 0)
    site.write(HEAD + "".join(map(vm, "abcd")))
    site.build()
    for name in "abcd":
        assert Disk(site.store / f"vms/{name}/work.ext4").text("/.ssh/authorized_keys") == f"{KEY}\n"


def test_a_large_tree_is_written_into_each_root(site: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "MOST_BYTES", 0)
    site.write(HEAD + "".join(map(vm, "ab")))
    site.build()
    for name in "ab":
        site.guest(name).assert_clean()
        assert site.guest(name).text("/srv/site/c") == "two\n" * 900
        assert site.guest(name).text("/etc/motd") == "x"


def test_many_different_trees_take_turns(site: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "MOST_IDLE", 1)
    for name in "abcdef":
        (site.directory / f"tree-{name}").mkdir()
        (site.directory / f"tree-{name}/name").write_text(name)
    before = len(list(Path("/proc/self/fd").iterdir()))
    site.write(HEAD + "".join(vm(name, tree=f"tree-{name}") for name in "abcdef"))
    site.build()
    assert [site.guest(name).text("/srv/site/name") for name in "abcdef"] == list("abcdef")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_a_shared_tree_leaves_out_is_said(site: Project) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(site.directory / "site/s"))
    site.write(HEAD + "".join(map(vm, "abc")))
    site.build()
    (said,) = [text for text in site.warnings if "socket" in text]
    assert said.endswith("root.patch: 'site/s' is a socket and is left out")


def test_a_declared_file_takes_one_name_of_a_file_and_leaves_it_the_others(site: Project) -> None:
    for name in ("second", "third"):
        (site.directory / f"site/{name}").hardlink_to(site.directory / "site/a/b")
    declared = '[[vm.web.file]]\nguest = "/srv/site/a/b"\ncontent = "declared"\n'
    for declaration in (declared, ""):  # and as it was, once it is not declared any more
        site.write(HEAD + vm("web") + declaration)
        site.build()
        guest = site.guest()
        guest.assert_clean()
        assert guest.text("/srv/site/a/b") == ("declared" if declaration else "one\n")
        assert guest.text("/srv/site/second") == guest.text("/srv/site/third") == "one\n"
        assert guest.inode("/srv/site/second") == guest.inode("/srv/site/third")
        assert guest.stat("/srv/site/second").links == (2 if declaration else 3)


def test_a_guests_disk_gets_such_names_too(site: Project) -> None:
    (site.directory / "site/second").hardlink_to(site.directory / "site/a/b")
    site.write(HEAD + vm("web"))
    site.build()
    with site.as_guest() as disk:
        disk.write_file("/guests", b"precious")
    site.write(HEAD + vm("web") + '[[vm.web.file]]\nguest = "/srv/site/a/b"\ncontent = "declared"\n')
    site.build()
    assert site.guest().text("/srv/site/a/b") == "declared"
    assert site.guest().text("/srv/site/second") == "one\n"
    assert site.guest().text("/guests") == "precious"
    assert {action.verb.value for action in site.plan().values()} == {"keep"}


def test_two_paths_of_one_file_are_refused_where_they_differ_and_only_there(site: Project) -> None:
    def twins(name: str, first: str, second: str) -> str:
        files = ({"guest": "/alias/x", "content": first}, {"guest": "/usr/x", "content": second})
        return vm(name) + "".join(f"[[vm.{name}.file]]\n{tomli_w.dumps(file)}" for file in files)

    write_tar(site.directory / "root.tar", DEBIAN, {"alias": "usr"})
    site.write(HEAD + twins("same", "1", "1") + twins("other", "1", "2") + vm("web"))
    results = site.apply()
    error = results["vm.other.root.patch"].error
    assert isinstance(error, GuestPathError)
    assert "are one file in 'vms/other/root.cow'" in error.brief
    assert site.guest("same").text("/usr/x") == "1"
    assert site.guest("web").text("/etc/motd") == "x"


def test_a_tree_that_changes_while_disks_are_made_of_it_spoils_all_of_them(
    site: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed = Snapshot.fill

    def meddled(*arguments: object) -> object:
        (site.directory / "site/c").write_text("three\n")
        return surveyed(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Snapshot, "fill", meddled)
    site.write(HEAD + "".join(map(vm, "abc")))
    results = site.apply()
    for name in "abc":
        error = results[f"vm.{name}.root.patch"].error
        assert isinstance(error, SourceError)
        assert error.brief == "'site/c' changed while it was read"
        assert not site.cow(name).exists()


@dataclass
class Changing(FakeHost):
    """Its sources have another digest each time."""

    said: list[str] = field(default_factory=list)

    def digest(self, source: Source) -> str:  # noqa: ARG002
        return self.said.pop(0)


def test_a_tree_that_changed_once_is_not_trusted_when_it_is_as_it_was(site: Project) -> None:
    """What was read of it meanwhile may be in what is shared."""
    site.write(HEAD + vm("web"))
    action = site.plan()["vm.web.root.patch"]
    (planned,) = action.recipe.sources.values()
    sources = Sources(Changing(said=[planned, "another", planned]))
    sources.check(action)
    for _ in range(2):
        sources.forget()
        with pytest.raises(SourceError, match="'site' changed while it was read"):
            sources.check(action)
