"""A manifest becomes typed images and VMs: defaults, merging, includes, paths."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from bangerbuild.declared import VM, Image, Manifest, Network, Root
from bangerbuild.errors import ManifestError
from bangerbuild.manifest import load
from bangerbuild.model import HostPath
from bangerbuild.sources.boot_file import HostBootFile
from bangerbuild.sources.boot_guest import GuestBootFile
from bangerbuild.sources.directory import DirectorySource
from bangerbuild.sources.ext4 import Ext4Source
from bangerbuild.sources.tar import TarSource
from tests.manifest.loading import FULL_VM, loaded, write
from tests.manifests import MINIMAL


def test_a_minimal_manifest_gets_every_default(directory: Path) -> None:
    assert loaded(MINIMAL) == Manifest(
        store=directory / "build",
        images={"debian": Image("debian", TarSource(HostPath(directory / "root.tar", "root.tar")))},
        vms={
            "web": VM(
                name="web",
                image="debian",
                hostname="web",
                vcpus=1,
                memory_bytes=512 << 20,
                drop_mounts=("/home", "/var"),
                root=Root("snapshot", None, "block"),
                network=Network(mode="none", mac=None, tap=None),
            )
        },
        files=(Path("vm.toml"),),
        origins={"vm.web": directory / "vm.toml"},
    )


def test_an_empty_manifest_holds_nothing() -> None:
    manifest = loaded("")
    assert (manifest.images, manifest.vms) == ({}, {})


def test_a_manifest_can_be_pickled() -> None:
    manifest = loaded(FULL_VM)
    assert pickle.loads(pickle.dumps(manifest)) == manifest  # noqa: S301  our own bytes


def test_loading_a_manifest_module_does_not_import_jsonschema() -> None:
    program = (
        "import sys, bangerbuild.manifest; sys.exit('jsonschema' in sys.modules or 'pathspec' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    Path("vm.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert list(load([Path("vm.toml")]).vms) == ["web"]


# --- images


@pytest.mark.parametrize(
    ("rootfs", "kind", "size_bytes"),
    [
        ('tar = "root.tar"\nsize = "2GiB"', TarSource, 2 << 30),
        ('ext4 = "disk.ext4"\nsize = "10G"', Ext4Source, 10 << 30),
        ('directory = "tree"\nsize = 1048576', DirectorySource, 1 << 20),
    ],
)
def test_each_source_keeps_its_path_and_size(rootfs: str, kind: type, size_bytes: int) -> None:
    source = loaded(f"[image.a.rootfs]\n{rootfs}").images["a"].rootfs
    assert isinstance(source, kind)
    assert isinstance(source, TarSource | Ext4Source | DirectorySource)
    assert source.size_bytes == size_bytes
    assert source.path.path == Path.cwd() / source.path.written


def test_a_filesystem_may_be_taken_at_the_size_it_has() -> None:
    os.truncate("disk.ext4", 64 << 20)
    source = loaded('[image.a.rootfs]\next4 = "disk.ext4"\nsize = "64MiB"').images["a"].rootfs
    assert source.size_bytes == 64 << 20


def test_a_directory_source_may_keep_its_owners() -> None:
    source = loaded('[image.a.rootfs]\ndirectory = "tree"\nowner = "keep"').images["a"].rootfs
    assert isinstance(source, DirectorySource)
    assert source.keep_owner


def test_an_image_keeps_its_command_line() -> None:
    text = '[image.a]\ncmdline = "console=ttyS0"\nrootfs = { ext4 = "disk.ext4" }'
    assert loaded(text).images["a"].cmdline == "console=ttyS0"


def test_a_seed_is_a_source_like_any_other() -> None:
    seed = '{ directory = "tree", size = "256MiB", owner = "keep" }'
    text = f'[image.a]\nrootfs.tar = "root.tar"\nwork_seed = {seed}'
    assert loaded(text).images["a"].work_seed == DirectorySource(
        HostPath(Path.cwd() / "tree", "tree"), 256 << 20, keep_owner=True
    )


def test_a_kernel_and_an_initrd_are_files_of_the_host() -> None:
    write("vmlinuz", "")
    write("boot/initrd.img", "")
    image = loaded(
        '[image.a]\nrootfs.tar = "root.tar"\nkernel = "vmlinuz"\ninitrd = "boot/initrd.img"'
    ).images["a"]
    assert image.kernel == HostBootFile(HostPath(Path.cwd() / "vmlinuz", "vmlinuz"))
    assert image.initrd == HostBootFile(HostPath(Path.cwd() / "boot/initrd.img", "boot/initrd.img"))


def test_a_kernel_and_an_initrd_are_patterns_in_the_guest() -> None:
    image = loaded("""
[image.a]
rootfs.tar = "root.tar"
kernel.guest = "/boot/vmlinuz-*"
initrd.guest = "~/initrd-?.img"
""").images["a"]
    assert (image.kernel, image.initrd) == (
        GuestBootFile("/boot/vmlinuz-*"),
        GuestBootFile("/root/initrd-?.img"),
    )


@pytest.mark.parametrize("cmdline", ["", "rootfstype=ext4 rootwait", "x.root=1", "console=ttyS0"])
def test_a_command_line_without_a_root_device_is_kept_as_it_is(cmdline: str) -> None:
    text = f'[image.a]\nrootfs.tar = "root.tar"\ncmdline = "{cmdline}"'
    assert loaded(text).images["a"].cmdline == cmdline


def test_an_image_and_a_vm_may_have_one_name() -> None:
    manifest = loaded('[image.web.rootfs]\ntar = "root.tar"\n[vm.web]\nimage = "web"')
    assert manifest.vms["web"].image == "web"


def test_a_source_may_be_a_symlink() -> None:
    Path("link").symlink_to("root.tar")
    source = loaded('[image.a.rootfs]\ntar = "link"').images["a"].rootfs
    assert source == TarSource(HostPath(Path.cwd() / "link", "link"))


# --- includes, several files, the store


def test_several_manifests_act_as_one_whose_first_file_has_the_store() -> None:
    first = write("a/vm.toml", '[store]\npath = "out"\n[vm.web]\nimage = "debian"')
    second = write("b.toml", '[image.debian.rootfs]\ntar = "root.tar"')
    manifest = load([first, second])

    assert manifest.store == Path.cwd() / "a/out"
    assert manifest.files == (first, second)
    assert manifest.vms["web"].image == "debian"


def test_the_store_lies_beside_the_first_manifest() -> None:
    assert load([write("deep/down/vm.toml", "")]).store == Path.cwd() / "deep/down/build"


@pytest.mark.parametrize(
    ("written", "store"),
    [("/var/vms", "/var/vms"), ("../out", "{parent}/out"), ("~/vms", "{home}/vms"), ("out", "{here}/out")],
)
def test_the_store_is_where_the_manifest_says(written: str, store: str) -> None:
    expected = store.format(parent=Path.cwd().parent, home=Path.home(), here=Path.cwd())
    assert loaded(f'[store]\npath = "{written}"').store == Path(expected)


def test_a_store_on_the_command_line_starts_from_the_current_directory() -> None:
    path = write("sub/vm.toml", '[store]\npath = "elsewhere"')
    assert load([path], store=Path("here")).store == Path.cwd() / "here"


def test_no_path_at_all_means_vm_toml() -> None:
    write("vm.toml", MINIMAL)
    assert load([]) == load() == load([Path("vm.toml")])


def test_nothing_is_written_while_loading(directory: Path) -> None:
    path = write("vm.toml", FULL_VM)
    before = sorted(directory.rglob("*"))
    load([path])
    with pytest.raises(ManifestError):
        load([path, Path("missing.toml")])
    assert sorted(directory.rglob("*")) == before
