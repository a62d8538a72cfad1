"""A new disk format is a module, a line in the registry, a word in the schema: nothing else knows of it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest, store
from bangerbuild.commands import browse, dependents, destroy, gc, status, verify
from bangerbuild.commands.verify.check import CheckResult
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats import FORMATS
from bangerbuild.errors import ManifestError, StoreError
from bangerbuild.manifest import form
from bangerbuild.model.request import RunOptions
from bangerbuild.pipeline import load_request, look
from tests.disk.formats.toy import HEADER, InvertedBlocks, Toy, unpacked
from tests.kernel.making import elf
from tests.projects import DEBIAN, Disk, Project, codes, write_tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The line in the registry, and the word in the schema."""
    monkeypatch.setitem(FORMATS, "toy", Toy())
    word = '"enum": ["snapshot", "raw"]'
    assert form.schema_text().count(word) == 1
    schema = tmp_path / "schema.json"
    schema.write_text(form.schema_text().replace(word, '"enum": ["snapshot", "raw", "toy"]'))
    monkeypatch.setattr(form, "SCHEMAS", (schema, schema))
    form._validator.cache_clear()
    yield
    form._validator.cache_clear()


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


def test_a_guests_is_updated_where_it_lies(built: Project) -> None:
    with as_guest(built) as filesystem:
        filesystem.write_file("/precious", b"the guest's")
    inode = root(built).stat().st_ino
    declare(built, port=81)
    assert not built.plan()[PATCH].remakes_disk
    built.build()
    assert root(built).stat().st_ino == inode
    found = disk(built)
    found.assert_clean()
    assert (found.text("/etc/app.conf"), found.text("/precious")) == ("port = 81", "the guest's")


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
    (built.store / "state.db").unlink()
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
    assert "root.toy needs no device" in (directory / "attach.sh").read_text()


def test_gc_keeps_its_image_and_destroy_takes_it(built: Project) -> None:
    with as_guest(built) as filesystem:
        filesystem.write_file("/precious", b"the guest's")
    built.write('[image.other.rootfs]\ntar = "root.tar"\n')
    _, wastes = gc.collect(built.request(), ignore, dry_run=False, lock_seconds=0)
    assert [waste.path for waste in wastes if waste.path.endswith("rootfs.ext4")] == []
    assert root(built).exists()
    opened = store.read(built.store)
    assert [ROOT] in dependents.dependents(opened).values()
    assert dependents.unknown_stores(opened) == []
    request = built.request()
    lost = destroy.destroy(
        type(request)(request.manifests, targets=("vm.web",)), lambda _: True, ignore, lock_seconds=0
    )
    assert lost is not None
    assert [item.artifact for item in lost.items if item.is_disk] == ["vms/web/root.toy"]
    assert not root(built).exists()


def test_a_store_with_a_format_that_is_not_in_the_registry_is_refused(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(FORMATS, "toy")
    with pytest.raises(StoreError, match="the format 'toy', which this version does not know") as caught:
        verify.verify(built.request(), RunOptions(1, lock_seconds=0), ignore, ignore)
    assert caught.value.hint == "the store was written by another version of bangerbuild: use that one"
