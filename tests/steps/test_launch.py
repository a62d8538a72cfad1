from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.declared import VM, Disk, Image, Manifest, Network, Work
from bangerbuild.model import HostPath, Outcome, Verb
from bangerbuild.model.fingerprint import step_fields
from bangerbuild.sources.boot_guest import GuestBootFile
from bangerbuild.sources.tar import TarSource
from bangerbuild.steps.launch import Launch
from tests.fakes import FakeDisk, FakeStep, built, planned
from tests.stores import lose_records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.model import Action, Json, Step, Workspace
    from tests.projects import Project

IMAGE = "image.bookworm"
BASE = "images/bookworm/0123/rootfs.ext4"
NETWORK = Network("bootstrap", "172.16.0.10/24", "172.16.0.1", ("1.1.1.1",), "06:00:ac:10:00:0a", "tap-web")
WEB = VM(
    name="web",
    image="bookworm",
    hostname="web",
    vcpus=2,
    memory_bytes=1 << 30,
    work=Work(),
    disks=(Disk("data", 1 << 20, "/data"), Disk("a-log", 1 << 20, "/log")),
    network=NETWORK,
)
FILES = ("attach.sh", "cloud-hypervisor.sh", "detach.sh", "firecracker.json", "qemu.sh")


@dataclass(frozen=True)
class FakeRoot(FakeDisk):
    """A snapshot root that stands on an image."""

    base: str = field(default=BASE, metadata={"recipe": False})

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        return {**super().run(workspace), "base": self.base}


def manifest(path: Path, *vms: VM, kernel: bool = True, initrd: bool = True, **image: str) -> Manifest:
    bookworm = Image(
        "bookworm",
        TarSource(HostPath(path / "root.tar", "root.tar")),
        kernel=GuestBootFile("/boot/vmlinuz-*") if kernel else None,
        initrd=GuestBootFile("/boot/initrd.img-*") if initrd else None,
        cmdline=image.get("cmdline"),
    )
    return Manifest(path / "build", {"bookworm": bookworm}, {vm.name: vm for vm in vms})


def launch(path: Path, vm: VM = WEB, *, kernel: bool = True, initrd: bool = True, **image: str) -> Launch:
    (step,) = Launch.declare(manifest(path, vm, kernel=kernel, initrd=initrd, **image))
    return step


def neighbours(root: FakeStep | None = None) -> list[Step]:
    """What makes the files that those of the VM `web` name."""
    return [
        root or FakeRoot("vm.web.root", outputs=("vms/web/root.cow",)),
        FakeDisk("vm.web.work", outputs=("vms/web/work.ext4",)),
        FakeDisk("vm.web.disk.data", outputs=("vms/web/data.ext4",)),
        FakeDisk("vm.web.disk.a-log", outputs=("vms/web/a-log.ext4",)),
        FakeStep(f"{IMAGE}.kernel", outputs=("images/bookworm/k/vmlinuz", "images/bookworm/k/vmlinux")),
        FakeStep(f"{IMAGE}.initrd", outputs=("images/bookworm/i/initrd.img",)),
    ]


def build(path: Path, step: Launch, root: FakeStep | None = None) -> Path:
    """Build all; the VM's directory."""
    results = built([*neighbours(root), step], path)
    assert {result.outcome for result in results} <= {Outcome.DONE, Outcome.SKIPPED}, results
    return path / "vms" / "web"


def action(path: Path, step: Launch, root: FakeStep | None = None) -> Action:
    """What the plan says of the launch step."""
    actions = planned([*neighbours(root), step], path).actions
    return next(action for action in actions if action.id == "vm.web.launch")


def reasons(found: Action) -> list[dict[str, Json]]:
    return [reason.to_json() for reason in found.reasons]


# What it is declared from


def test_every_vm_has_its_launch_step(tmp_path: Path) -> None:
    declared = Launch.declare(manifest(tmp_path, WEB, replace(WEB, name="db")))
    assert [step.id for step in declared] == ["vm.web.launch", "vm.db.launch"]


def test_it_needs_all_that_its_files_name(tmp_path: Path) -> None:
    assert launch(tmp_path).inputs == (
        "vm.web.root",
        "vm.web.work",
        "vm.web.disk.data",
        "vm.web.disk.a-log",
        "image.bookworm.kernel",
        "image.bookworm.initrd",
    )
    least = replace(WEB, work=None, disks=())
    assert launch(tmp_path, least, initrd=False).inputs == ("vm.web.root", "image.bookworm.kernel")
    assert launch(tmp_path, least, kernel=False).inputs == ("vm.web.root",)


def test_without_a_kernel_only_attach_and_detach_are_made(tmp_path: Path) -> None:
    assert set(launch(tmp_path).outputs) == {f"vms/web/{name}" for name in FILES}
    assert launch(tmp_path, kernel=False).outputs == ("vms/web/attach.sh", "vms/web/detach.sh")


def test_its_recipe_is_what_counts_in_the_files_under_manifest_keys(tmp_path: Path) -> None:
    assert step_fields(launch(tmp_path)) == {
        "work": True,
        "disk": ["data", "a-log"],
        "vcpus": 2,
        "memory": 1 << 30,
        "cmdline": "console=ttyS0 reboot=k panic=1",
        "hostname": None,
        "network.mode": "bootstrap",
        "network.address": "172.16.0.10/24",
        "network.gateway": "172.16.0.1",
        "network.mac": "06:00:ac:10:00:0a",
        "network.tap": "tap-web",
    }


@pytest.mark.parametrize(
    "changed",
    [
        replace(WEB, hostname="other"),
        replace(WEB, network=replace(NETWORK, dns=("9.9.9.9",))),
        replace(WEB, authorized_keys=("ssh-ed25519 AAAA",)),
    ],
)
def test_what_changes_no_file_changes_no_recipe(tmp_path: Path, changed: VM) -> None:
    assert launch(tmp_path, changed) == launch(tmp_path)


def test_without_a_kernel_processors_and_network_do_not_count(tmp_path: Path) -> None:
    other = replace(WEB, vcpus=8, memory_bytes=1 << 31, network=Network())
    assert launch(tmp_path, other, kernel=False) == launch(tmp_path, kernel=False)


# What it makes


def test_a_snapshot_root_is_named_by_the_device_that_attach_makes_of_it(tmp_path: Path) -> None:
    vm = build(tmp_path, launch(tmp_path))
    config = json.loads((vm / "firecracker.json").read_text())
    assert [drive["path_on_host"] for drive in config["drives"]] == [
        "root.dev",
        "work.ext4",
        "data.ext4",
        "a-log.ext4",
    ]
    assert config["boot-source"] == {
        "kernel_image_path": "../../images/bookworm/k/vmlinux",
        "initrd_path": "../../images/bookworm/i/initrd.img",
        "boot_args": "console=ttyS0 reboot=k panic=1",
    }
    assert f"\nimage=../../{BASE}\n" in (vm / "attach.sh").read_text()


def test_every_path_leads_from_the_vms_directory_to_what_is_there(tmp_path: Path) -> None:
    vm = build(tmp_path, launch(tmp_path))
    config = json.loads((vm / "firecracker.json").read_text())
    source = config["boot-source"]
    paths = [source["kernel_image_path"], source["initrd_path"]]
    paths += [drive["path_on_host"] for drive in config["drives"][1:]]
    assert all((vm / path).is_file() for path in paths)


def test_a_raw_root_is_named_itself(tmp_path: Path) -> None:
    vm = build(tmp_path, launch(tmp_path), FakeDisk("vm.web.root", outputs=("vms/web/root.ext4",)))
    config = json.loads((vm / "firecracker.json").read_text())
    assert config["drives"][0]["path_on_host"] == "root.ext4"
    assert "nothing to attach" in (vm / "attach.sh").read_text()


def test_the_declared_command_line_and_the_kernels_own_network_reach_every_vmm(tmp_path: Path) -> None:
    told = replace(WEB, hostname="web.lan", network=replace(NETWORK, mode="cmdline"))
    vm = build(tmp_path, launch(tmp_path, told, cmdline="quiet"))
    line = "quiet ip=172.16.0.10::172.16.0.1:255.255.255.0:web.lan:eth0:off:1.1.1.1"
    config = json.loads((vm / "firecracker.json").read_text())
    assert config["boot-source"]["boot_args"] == line
    for script in ("qemu.sh", "cloud-hypervisor.sh"):
        assert f"'{line} root=/dev/vda rw'" in (vm / script).read_text()


def test_scripts_can_be_run_and_nobody_else_may_write_them(tmp_path: Path) -> None:
    vm = build(tmp_path, launch(tmp_path))
    modes = {path.name: path.stat().st_mode & 0o777 for path in vm.iterdir() if path.name in FILES}
    assert modes == {name: 0o755 if name.endswith(".sh") else 0o644 for name in FILES}


def test_the_same_manifest_gives_the_same_bytes_in_every_store(tmp_path: Path) -> None:
    first = build(tmp_path / "a", launch(tmp_path))
    second = build(tmp_path / "b b", launch(tmp_path / "elsewhere"))
    assert [(first / name).read_bytes() for name in FILES] == [(second / name).read_bytes() for name in FILES]


# What a plan says of it


def test_a_new_vm_has_them_created(tmp_path: Path) -> None:
    found = action(tmp_path, launch(tmp_path))
    assert (found.verb, reasons(found)) == (Verb.CREATE, [{"code": "missing"}])


def test_what_is_as_it_should_be_is_kept(tmp_path: Path) -> None:
    build(tmp_path, launch(tmp_path))
    found = action(tmp_path, launch(tmp_path))
    assert (found.verb, reasons(found)) == (Verb.KEEP, [])


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    (build(tmp_path, launch(tmp_path)) / "qemu.sh").unlink()
    found = action(tmp_path, launch(tmp_path))
    assert (found.verb, reasons(found)) == (Verb.CREATE, [{"code": "missing"}])
    assert (build(tmp_path, launch(tmp_path)) / "qemu.sh").is_file()


@pytest.mark.parametrize("name", FILES)
def test_a_file_edited_by_hand_is_written_anew(tmp_path: Path, name: str) -> None:
    edited = build(tmp_path, launch(tmp_path)) / name
    before = edited.read_bytes()
    edited.write_text("edited\n")
    found = action(tmp_path, launch(tmp_path))
    assert (found.verb, reasons(found)) == (
        Verb.UPDATE,
        [{"code": "artifact-modified", "path": "vms/web"}],
    )
    build(tmp_path, launch(tmp_path))
    assert edited.read_bytes() == before


def test_files_that_no_record_knows_are_written_anew(tmp_path: Path) -> None:
    vm = build(tmp_path / "a", launch(tmp_path))
    for name in FILES:
        (tmp_path / "b" / "vms" / "web").mkdir(parents=True, exist_ok=True)
        shutil.copy(vm / name, tmp_path / "b" / "vms" / "web" / name)
    found = action(tmp_path / "b", launch(tmp_path))
    assert (found.verb, reasons(found)) == (
        Verb.UPDATE,
        [{"code": "artifact-modified", "path": "vms/web"}],
    )


def test_a_changed_key_is_an_update_that_says_what_changed(tmp_path: Path) -> None:
    build(tmp_path, launch(tmp_path))
    changed = launch(tmp_path, replace(WEB, vcpus=4, disks=WEB.disks[::-1]))
    found = action(tmp_path, changed)
    assert found.verb is Verb.UPDATE
    assert reasons(found) == [
        {"code": "recipe-changed", "key": "disk", "old": ["data", "a-log"], "new": ["a-log", "data"]},
        {"code": "recipe-changed", "key": "vcpus", "old": 2, "new": 4},
    ]
    assert "-smp 4" in (build(tmp_path, changed) / "qemu.sh").read_text()


def test_a_new_base_is_named_anew(tmp_path: Path) -> None:
    build(tmp_path, launch(tmp_path))
    other = "images/bookworm/4567/rootfs.ext4"
    newer = FakeRoot("vm.web.root", outputs=("vms/web/root.cow",), text="newer", base=other)
    found = action(tmp_path, launch(tmp_path), newer)
    assert (found.verb, reasons(found)) == (Verb.UPDATE, [{"code": "input-changed", "id": "vm.web.root"}])
    vm = build(tmp_path, launch(tmp_path), newer)
    assert f"\nimage=../../{other}\n" in (vm / "attach.sh").read_text()


def test_a_kernel_that_is_declared_later_brings_the_files_that_start_it(tmp_path: Path) -> None:
    vm = build(tmp_path, launch(tmp_path, kernel=False))
    assert not (vm / "qemu.sh").exists()
    assert action(tmp_path, launch(tmp_path)).verb is Verb.UPDATE
    assert (build(tmp_path, launch(tmp_path)) / "qemu.sh").is_file()


def test_where_no_record_knows_the_base_the_files_stay_as_they_are(debian: Project) -> None:
    debian.write('[image.debian.rootfs]\ntar = "root.tar"\n[vm.web]\nimage = "debian"\n')
    debian.build()
    attach = debian.store / "vms" / "web" / "attach.sh"
    before = attach.read_bytes()
    lose_records(debian.store)
    assert debian.plan()["vm.web.launch"].verb is Verb.BLOCKED
    debian.build()
    assert attach.read_bytes() == before
