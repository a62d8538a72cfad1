"""A new disk format is a module and a line in the registry: nothing else knows of it.

The schema repeats the registry for editors, which tests/disk/formats/test_formats.py checks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.commands import browse, status, verify
from bangerbuild.commands.verify.check import CheckResult
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats import FORMATS
from bangerbuild.errors import ManifestError, StoreError
from bangerbuild.model.request import RunOptions
from bangerbuild.pipeline import load_request, look
from tests.disk.formats.toy import (
    HEADER,
    Delta,
    InvertedBlocks,
    Toy,
    opened_delta,
    unpacked,
    unpacked_delta,
)
from tests.in_process import actions, document, run
from tests.kernel.making import elf
from tests.launch.running import RECORDER
from tests.projects import DEBIAN, Disk, Project, codes, write_tar
from tests.stores import lose_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks

MIB = 1 << 20
ROOT, PATCH = "vm.web.root", "vm.web.root.patch"
IMAGE = """\
[image.debian]
rootfs = { tar = "root.tar", size = "24MiB" }
kernel = "vmlinuz"
"""
WEB = """\
[vm.web]
image = "debian"
root.format = "toy"
[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = PORT"
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines in the registry."""
    monkeypatch.setitem(FORMATS, "toy", Toy())
    monkeypatch.setitem(FORMATS, "delta", Delta())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A VM with a toy for a root."""
    write_tar(tmp_path / "root.tar", DEBIAN)
    (tmp_path / "vmlinuz").write_bytes(elf())
    made = Project(tmp_path)
    declare(made)
    return made


@pytest.fixture
def built(project: Project) -> Project:
    project.build()
    return project


def declare(project: Project, port: int = 80, more: str = "") -> None:
    project.write(IMAGE + WEB.replace("PORT", str(port)).replace('"toy"\n', f'"toy"\n{more}'))


def root(project: Project) -> Path:
    return project.store / "vms/web/root.toy"


def disk(project: Project) -> Disk:
    """The root as other programs see it."""
    return Disk(unpacked(root(project), project.directory / "unpacked.ext4"))


@contextmanager
def as_guest(project: Project) -> Iterator[Filesystem]:
    with (
        RawFile(root(project), writable=True) as file,
        Filesystem(InvertedBlocks(file), writable=True, now=1_700_000_000) as filesystem,
    ):
        yield filesystem


def ignore(_: object) -> None:
    pass


def test_a_manifest_may_name_it_and_its_size_is_read_as_it_says(project: Project) -> None:
    loaded = manifest.load((project.directory / "vm.toml",))
    assert loaded.vms["web"].root.format == "toy"
    declare(project, more='root.size = "1MiB"\n')
    with pytest.raises(ManifestError) as caught:
        manifest.load((project.directory / "vm.toml",))
    assert [problem.message for problem in caught.value.problems] == ["size is '1MiB', too small a toy"]


def test_a_manifest_may_name_no_other(project: Project) -> None:
    project.write(IMAGE + WEB.replace('"toy"', '"poem"'))
    with pytest.raises(ManifestError) as caught:
        manifest.load((project.directory / "vm.toml",))
    known = '"snapshot" or "qcow2" or "overlay" or "raw" or "toy" or "delta"'
    assert [problem.message for problem in caught.value.problems] == [f"format is 'poem': give {known}"]


def test_it_is_planned_made_and_then_kept(project: Project) -> None:
    made = project.plan()[ROOT]
    assert (made.step.kind, made.verb.value, made.artifacts) == ("root-toy", "create", ("vms/web/root.toy",))
    assert made.recipe.tools == {"bangerbuild root-toy": "7"}
    project.build()
    assert root(project).read_bytes().startswith(HEADER)
    found = disk(project)
    found.assert_clean()
    assert found.text("/etc/app.conf") == "port = 80"
    assert found.text("/etc/hostname") == "web\n"
    assert {action.verb.value for action in project.plan().values()} == {"keep"}


def test_one_that_nobody_used_is_made_anew_by_its_patch(built: Project) -> None:
    before = root(built).read_bytes()
    declare(built, port=81)
    action = built.plan()[PATCH]
    assert (action.verb.value, action.remakes_disk) == ("update", True)
    assert [diff.guest for diff in action.diffs] == ["/etc/app.conf"]
    built.build()
    assert disk(built).text("/etc/app.conf") == "port = 81"
    declare(built)
    built.build()
    assert root(built).read_bytes() == before


def test_a_guests_grows_with_all_that_is_in_it(built: Project) -> None:
    with as_guest(built) as filesystem:
        filesystem.write_file("/precious", b"the guest's")
    declare(built, more='root.size = "32MiB"\n')
    action = built.plan()[ROOT]
    assert codes(action.reasons) == ["size-grow"]
    assert action.reasons[0].facts == {"old": 24 * MIB, "new": 32 * MIB}
    built.build()
    assert root(built).stat().st_size == 32 * MIB + len(HEADER)
    assert disk(built).text("/precious") == "the guest's"
    assert built.plan()[ROOT].verb.value == "keep"


def test_another_format_takes_its_place_only_while_no_guest_has_written_to_it(built: Project) -> None:
    built.write(IMAGE + WEB.replace('"toy"', '"raw"'))
    assert built.plan()[ROOT].verb.value == "replace"
    with as_guest(built) as filesystem:
        filesystem.write_file("/precious", b"the guest's")
    assert built.plan()[ROOT].verb.value == "blocked"


def test_a_lost_record_of_it_is_taken_up_again(built: Project) -> None:
    lose_records(built.store)
    assert built.plan()[ROOT].verb.value == "adopt"
    built.build()
    assert disk(built).text("/etc/app.conf") == "port = 80"


def test_verify_checks_it_and_its_files(built: Project) -> None:
    def faults() -> dict[tuple[str, str], str]:
        options = RunOptions(2, lock_seconds=0)
        _, checks = verify.verify(built.request(), options, ignore, ignore, again=True)
        assert {"filesystem", "files"} <= {one.check for one in checks if one.path == "vms/web/root.toy"}
        return {(one.path, one.check): one.message for one in checks if one.result is not CheckResult.OK}

    assert faults() == {}
    with as_guest(built) as filesystem:
        filesystem.write_file("/etc/app.conf", b"the guest's")
    assert faults() == {("vms/web/root.toy", "files"): "/etc/app.conf differs in the guest"}


def test_status_names_it_and_its_image(built: Project) -> None:
    plan, opened = look(load_request(built.request(), ignore))
    (found,) = [one for one in status.examine(plan, opened) if one.id == ROOT]
    assert (found.path, found.state) == ("vms/web/root.toy", "current")
    assert found.base == str(built.image().relative_to(built.store))
    assert status.by_half(built.store) == []
    root(built).with_name("root.toy.redo").touch()
    assert status.by_half(built.store) == ["vms/web/root.toy"]


def test_its_content_tells_ls_and_cat_what_it_is(built: Project) -> None:
    alone = built.directory / "anything"
    alone.write_bytes(root(built).read_bytes())
    with browse.opened_disk(alone, None, warn=ignore) as filesystem:
        assert b"".join(browse.content(filesystem, "/etc/app.conf")) == b"port = 80"
        assert "hostname" in browse.listing(filesystem, "/etc", in_full=False)


def test_launch_files_attach_it_as_it_says(built: Project) -> None:
    directory = root(built).parent
    qemu, hypervisor = ((directory / name).read_text() for name in ("qemu.sh", "cloud-hypervisor.sh"))
    assert "file=root.toy,format=toy,if=virtio" in qemu
    assert "path=root.toy,image_type=toy" in hypervisor
    assert "panic=1 toy=1 root=/dev/vda rw" in qemu
    assert json.loads((directory / "firecracker.json").read_text()) == {
        "refused": "Firecracker can't start this VM: it plays no games"
    }
    attach = (directory / "attach.sh").read_text()
    assert "The root of the VM web is a toy." in attach
    assert "root.toy needs no device" in attach


def test_a_store_with_a_format_that_is_not_in_the_registry_is_refused(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    built.write(IMAGE)
    monkeypatch.delitem(FORMATS, "toy")
    with pytest.raises(StoreError, match="the format 'toy', which this version does not know") as caught:
        verify.verify(built.request(), RunOptions(1, lock_seconds=0), ignore, ignore)
    assert caught.value.hint == "the store was written by another version of bangerbuild: use that one"


@dataclass(frozen=True)
class CommandLine:
    """A project whose one VM has a root of a format, for commands in its directory."""

    project: Project
    format: str

    @property
    def root(self) -> Path:
        return self.project.store / "vms/web" / f"root{FORMATS[self.format].suffix}"

    def declare(self, port: int) -> None:
        text = IMAGE + WEB.replace("PORT", str(port))
        self.project.write(text.replace('"toy"', f'"{self.format}"'))

    def guest_writes(self) -> None:
        """What a guest does to its root while it runs."""
        with ExitStack() as stack:
            blocks: Blocks
            if self.format == "toy":
                blocks = InvertedBlocks(stack.enter_context(RawFile(self.root, writable=True)))
            else:
                blocks = stack.enter_context(opened_delta(self.root, self.project.image()))
            filesystem = stack.enter_context(Filesystem(blocks, writable=True, now=1_700_000_000))
            filesystem.write_file("/precious", b"the guest's")

    def disk(self) -> Disk:
        """The root as other programs see it."""
        target = self.project.directory / "unpacked.ext4"
        if self.format == "toy":
            return Disk(unpacked(self.root, target))
        return Disk(unpacked_delta(self.root, self.project.image(), target))


@pytest.fixture(params=["toy", "delta"])
def line(project: Project, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(project.directory)
    made = CommandLine(project, request.param)
    made.declare(80)
    return made


def test_every_command_takes_it(line: CommandLine) -> None:
    assert run("validate") == (0, "")
    assert run("lock")[0] == 0
    assert actions()[ROOT] == "create"
    assert run("apply")[0] == 0
    assert set(actions().values()) == {"keep"}
    made = line.disk()
    made.assert_clean()
    assert made.text("/etc/app.conf") == "port = 80"

    line.guest_writes()
    inode = line.root.stat().st_ino
    line.declare(81)
    assert (actions()[ROOT], actions()[PATCH]) == ("keep", "update")
    assert run("apply")[0] == 0
    assert line.root.stat().st_ino == inode
    updated = line.disk()
    updated.assert_clean()
    assert (updated.text("/etc/app.conf"), updated.text("/precious")) == ("port = 81", "the guest's")

    path, image = str(line.root.relative_to(line.project.store)), line.project.image()
    checks = document("verify", "--rebuild")["checks"]
    assert {check["result"] for check in checks} == {"ok"}
    assert {"filesystem", "files"} <= {check["check"] for check in checks if check["path"] == path}
    assert "rebuild" in {check["check"] for check in checks}
    artifacts = {artifact["path"]: artifact for artifact in document("status")["artifacts"]}
    assert {artifact["state"] for artifact in artifacts.values()} == {"current"}
    assert artifacts[path]["base"] == str(image.relative_to(line.project.store))
    assert run("cat", str(line.root), "/etc/app.conf") == (0, "port = 81")
    assert "precious" in run("ls", str(line.root), "/")[1].splitlines()

    line.project.write('[image.other.rootfs]\ntar = "root.tar"\n')
    assert document("gc")["removed"] == []
    assert image.exists()
    assert run("destroy", "--target", "vm.web", "--yes")[0] == 0
    assert not line.root.parent.exists()
    assert str(image.parent.relative_to(line.project.store)) in {
        waste["path"] for waste in document("gc")["removed"]
    }


def test_one_that_stands_on_a_base_is_of_no_use_without_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.directory)
    line = CommandLine(project, "delta")
    line.declare(80)
    assert run("apply")[0] == 0
    base = str(project.image())
    lost = str(shutil.copy(line.root, project.directory))
    assert run("cat", lost, "/etc/app.conf")[0] != 0
    assert run("cat", "--base", base, lost, "/etc/app.conf") == (0, "port = 80")
    (project.store / "state.db").unlink()
    assert run("plan")[0] == 1
    assert "its header does not say which image it stands on" in run("recover")[1]
    assert actions()[ROOT] == "blocked"
    assert document("gc", "-n")["removed"] == []


def test_the_doctor_looks_for_what_attaching_it_takes() -> None:
    assert "attaches deltas" in run("doctor")[1]


DELTACTL = """\
#!/bin/sh
printf '%s\\n' "$*" >>"$RECORD"
[ "$1" = down ] || { [ -f "$2" ] && [ -f "$3" ] && echo "$2"; }
"""


def test_launch_files_set_it_up_on_the_host_as_it_says(project: Project, tmp_path: Path) -> None:
    CommandLine(project, "delta").declare(80)
    project.build()
    vm, base = project.store / "vms/web", f"../../{project.image().relative_to(project.store)}"
    hypervisor = "cloud-hypervisor.sh"
    programs = {"deltactl": DELTACTL, "id": "#!/bin/sh\necho $USER_ID\n", "cloud-hypervisor": RECORDER}
    for name, text in programs.items():
        write_program(tmp_path / "bin" / name, text)

    def script(name: str, user_id: int = 0) -> tuple[int, str, list[str]]:
        record = tmp_path / "record"
        record.write_text("")
        variables = {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "RECORD": str(record),
            "USER_ID": str(user_id),
        }
        done = subprocess.run([vm / name], capture_output=True, text=True, check=False, env=variables)
        return done.returncode, done.stderr, record.read_text().splitlines()

    assert script(hypervisor) == (
        1,
        "cloud-hypervisor.sh: there is no root.dev: run attach.sh first, as root\n",
        [],
    )
    assert script("attach.sh", user_id=1000) == (1, "attach.sh: needs root\n", [])
    assert script("attach.sh") == (0, "", [f"up root.over.delta {base} web"])
    assert (vm / "root.dev").samefile(vm / "root.over.delta")
    assert script("attach.sh") == (0, "", [])
    disks = [f"path={base},image_type=raw,readonly=on", "path=root.dev,image_type=raw,backing_files=on"]
    code, _, argv = script(hypervisor)
    assert (code, argv[argv.index("--disk") + 1 :][:2]) == (0, disks)
    assert argv[argv.index("--cmdline") + 1].endswith(" init=/bin/join root=/dev/vda ro")
    assert script("qemu.sh")[1] == "qemu.sh: QEMU can't start this VM: it knows no deltas\n"
    first, second = json.loads((vm / "firecracker.json").read_text())["drives"]
    assert (first["path_on_host"], first["is_read_only"], first["is_root_device"]) == (base, True, True)
    assert (second["path_on_host"], second["is_read_only"], second["io_engine"]) == (
        "root.dev",
        False,
        "Async",
    )
    assert script("detach.sh") == (0, "", ["down web"])
    assert not (vm / "root.dev").is_symlink()
    (tmp_path / "bin/deltactl").unlink()
    assert script("attach.sh")[1] == "attach.sh: there is no deltactl here: it comes with deltas\n"


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
