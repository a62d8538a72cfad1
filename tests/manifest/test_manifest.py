"""A manifest becomes typed images and VMs: defaults, merging, includes, paths."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from bangerbuild.declared import (
    VM,
    Disk,
    FileSync,
    GuestDefaults,
    Image,
    InlineFile,
    Manifest,
    Mount,
    Network,
    Root,
    Work,
)
from bangerbuild.errors import ManifestError
from bangerbuild.manifest import load
from bangerbuild.model import HostPath
from bangerbuild.sources.boot_file import HostBootFile
from bangerbuild.sources.boot_guest import GuestBootFile
from bangerbuild.sources.directory import DirectorySource
from bangerbuild.sources.ext4 import Ext4Source
from bangerbuild.sources.tar import TarSource
from tests.manifests import KEY, MINIMAL

FULL_VM = """\
[image.debian.rootfs]
tar = "root.tar"
[vm.web]
image = "debian"
vcpus = 2
memory = "1GiB"
hostname = "Web.example.org"
drop_mounts = ["/srv"]
[vm.web.root]
format = "snapshot"
size = "8GiB"
on_new_base = "keep"
[vm.web.guest]
sshd = false
[vm.web.network]
address = "172.16.0.10/24"
gateway = "172.16.0.1"
dns = ["1.1.1.1", "9.9.9.9"]
mac = "06:00:AC:10:00:0A"
tap = "vm7"
mode = "cmdline"
[[vm.web.file]]
guest = "~/app.conf"
content = "port = 80\\n"
mode = "4755"
owner = "app:1000"
[[vm.web.file_sync]]
host = "tree"
guest = "/opt/tree"
mode = "0600"
exclude = ["*.pyc", ".git"]
[[vm.web.mount]]
source = "//nas/my share"
target = "/mnt/my share"
fstype = "cifs"
options = ["ro", "nofail"]
dump = 1
pass = 2
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with what the manifests of these tests name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root.tar").touch()
    (tmp_path / "disk.ext4").touch()
    (tmp_path / "tree").mkdir()
    return tmp_path


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def loaded(text: str) -> Manifest:
    return load([write("vm.toml", text)])


def vm(text: str, name: str = "web") -> VM:
    """The VM of a manifest whose image is already there."""
    return loaded('[image.debian]\nrootfs = { tar = "root.tar" }\n' + text).vms[name]


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
    )


def test_every_key_of_a_vm_arrives(directory: Path) -> None:
    assert loaded(FULL_VM).vms["web"] == VM(
        name="web",
        image="debian",
        hostname="Web.example.org",
        vcpus=2,
        memory_bytes=1 << 30,
        drop_mounts=("/srv",),
        root=Root("snapshot", 8 << 30, "keep"),
        guest=GuestDefaults(sshd=False),
        network=Network(
            mode="cmdline",
            address="172.16.0.10/24",
            gateway="172.16.0.1",
            dns=("1.1.1.1", "9.9.9.9"),
            mac="06:00:ac:10:00:0a",
            tap="vm7",
        ),
        files=(InlineFile("/root/app.conf", "port = 80\n", 0o4755, "app:1000"),),
        file_syncs=(
            FileSync(
                HostPath(directory / "tree", "tree"), "/opt/tree", 0o600, "root:root", ("*.pyc", ".git")
            ),
        ),
        mounts=(Mount("//nas/my share", "/mnt/my share", "cifs", ("ro", "nofail"), 1, 2),),
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


# --- disks


SEED = '[image.seeded]\nrootfs.tar = "root.tar"\nwork_seed = { tar = "root.tar", size = "256MiB" }\n'


@pytest.mark.parametrize("size", ["2GiB", "256MiB"])
def test_a_raw_root_has_the_size_of_its_image_or_a_larger_one(size: str) -> None:
    text = (
        f'[image.a.rootfs]\ntar = "root.tar"\nsize = "256MiB"\n[vm.web]\nimage = "a"\nroot.size = "{size}"\n'
    )
    root = loaded(text + 'root.format = "raw"').vms["web"].root
    assert root == Root("raw", {"2GiB": 2 << 30, "256MiB": 256 << 20}[size], "block")


def test_a_raw_root_may_keep_its_base() -> None:
    root = vm('[vm.web]\nimage = "debian"\nroot = { format = "raw", on_new_base = "keep" }').root
    assert root == Root("raw", None, "keep")


def test_a_snapshot_may_be_smaller_than_its_image() -> None:
    text = '[image.a.rootfs]\ntar = "root.tar"\nsize = "2GiB"\n[vm.web]\nimage = "a"\nroot.size = "2MiB"'
    assert loaded(text).vms["web"].root == Root("snapshot", 2 << 20)


@pytest.mark.parametrize(
    ("image", "keys", "work"),
    [
        ("debian", "", None),
        ("debian", "work = false", None),
        ("debian", 'work.size = "1GiB"', Work(1 << 30, "/root")),
        ("debian", 'work = { size = "1GiB", mount = "/srv" }', Work(1 << 30, "/srv")),
        ("seeded", "", Work(None, "/root")),
        ("seeded", "work = {}", Work(None, "/root")),
        ("seeded", 'work.mount = "~/work"', Work(None, "/root/work")),
        ("seeded", 'work.size = "256MiB"', Work(256 << 20, "/root")),
        ("seeded", 'work.size = "16G"', Work(16 << 30, "/root")),
        ("seeded", "work = false", None),
    ],
)
def test_a_work_disk_is_there_if_there_is_a_seed_or_a_size(image: str, keys: str, work: Work | None) -> None:
    assert vm(f'{SEED}[vm.web]\nimage = "{image}"\n{keys}').work == work


def test_the_seed_may_be_that_of_an_included_file() -> None:
    write("images.toml", SEED)
    assert loaded('include = ["images.toml"]\n[vm.web]\nimage = "seeded"').vms["web"].work == Work()


def test_a_mount_point_in_the_defaults_makes_no_work_disk() -> None:
    vms = loaded(
        SEED
        + """\
[image.debian]
rootfs.tar = "root.tar"
[defaults]
work.mount = "/srv"
[vm.without]
image = "debian"
[vm.with]
image = "seeded"
"""
    ).vms
    assert (vms["without"].work, vms["with"].work) == (None, Work(None, "/srv"))


def test_a_vm_may_leave_out_or_take_up_the_work_disk_of_the_defaults() -> None:
    without = '[defaults]\nwork.size = "1GiB"\n[vm.web]\nimage = "debian"\nwork = false'
    taken = '[defaults]\nwork = false\n[vm.web]\nimage = "debian"\nwork.size = "1GiB"'
    assert (vm(without).work, vm(taken).work) == (None, Work(1 << 30))


def test_data_disks_come_in_the_order_given_after_those_of_the_defaults() -> None:
    found = vm("""
[[defaults.disk]]
name = "log"
size = "16MiB"
mount = "/var/log"
[[defaults.disk]]
name = "data"
size = "1GiB"
mount = "/data"
[vm.web]
image = "debian"
[[vm.web.disk]]
name = "sixteen-letters-"
size = 1073741824
mount = "~/x"
[[vm.web.disk]]
name = "data"
size = "2GiB"
mount = "/data/own"
""")
    assert found.disks == (
        Disk("log", 16 << 20, "/var/log"),
        Disk("sixteen-letters-", 1 << 30, "/root/x"),
        Disk("data", 2 << 30, "/data/own"),
    )


def test_a_disk_may_take_the_place_of_the_default_tmpfs_and_files_lie_on_it() -> None:
    found = vm("""
[vm.web]
image = "debian"
file = [{ guest = "/tmp/a", content = "" }]
disk = [{ name = "tmp", size = "1GiB", mount = "/tmp" }, { name = "b", size = "1GiB", mount = "/tmp/b" }]
""")
    assert [disk.mount for disk in found.disks] == ["/tmp", "/tmp/b"]
    assert found.files[0].guest == "/tmp/a"


def test_a_work_disk_may_lie_below_run_where_our_fstab_mounts_no_tmpfs() -> None:
    text = '[vm.web]\nimage = "debian"\nguest.fstab = false\nwork = { size = "1GiB", mount = "/run/work" }'
    assert vm(text).work == Work(1 << 30, "/run/work")


# --- network


def test_an_address_brings_the_mode_the_mac_and_the_tap() -> None:
    network = vm('[vm.web]\nimage = "debian"\nnetwork = { address = "10.1.2.255/16" }').network
    assert network == Network("bootstrap", "10.1.2.255/16", mac="06:00:0a:01:02:ff", tap="tap-web")


def test_an_address_may_be_left_to_the_guest_to_configure() -> None:
    network = vm('[vm.web]\nimage = "debian"\nnetwork = { address = "10.1.2.3/16", mode = "none" }').network
    assert network == Network("none", "10.1.2.3/16", mac="06:00:0a:01:02:03", tap=None)


def test_dns_servers_need_no_address() -> None:
    assert vm('[vm.web]\nimage = "debian"\nnetwork = { dns = ["1.1.1.1"] }').network == Network(
        dns=("1.1.1.1",)
    )


@pytest.mark.parametrize("prefix", ["31", "32"])
def test_the_smallest_networks_have_no_reserved_addresses(prefix: str) -> None:
    address = f"10.0.0.0/{prefix}"
    assert vm(f'[vm.web]\nimage = "debian"\nnetwork.address = "{address}"').network.address == address


def test_a_gateway_of_the_defaults_means_nothing_to_a_vm_without_an_address() -> None:
    text = '[defaults]\nimage = "debian"\nnetwork.gateway = "10.0.0.1"\n[vm.web]\n'
    assert vm(text).network.gateway is None


# --- merging


def test_defaults_are_merged_key_by_key_and_values_and_lists_replaced() -> None:
    found = vm("""
[defaults]
image = "debian"
vcpus = 4
drop_mounts = ["/a", "/b"]
network = { dns = ["1.1.1.1", "8.8.8.8"], gateway = "10.0.0.1" }
guest = { sshd = false, hosts = false }
[vm.web]
vcpus = 2
drop_mounts = ["/c"]
network = { address = "10.0.0.2/24", dns = ["9.9.9.9"] }
guest.hosts = true
""")
    assert found.vcpus == 2
    assert found.drop_mounts == ("/c",)
    assert (found.network.gateway, found.network.dns) == ("10.0.0.1", ("9.9.9.9",))
    assert found.guest == GuestDefaults(sshd=False)


def test_an_empty_list_replaces_that_of_the_defaults() -> None:
    text = '[defaults]\nimage = "debian"\ndrop_mounts = ["/a"]\n[vm.web]\ndrop_mounts = []'
    assert vm(text).drop_mounts == ()


def test_arrays_of_tables_are_appended_after_those_of_the_file() -> None:
    found = vm("""
[[file]]
guest = "/top"
content = ""
[[defaults.file]]
guest = "/default"
content = ""
[[vm.web.file]]
guest = "/own"
content = ""
[vm.web]
image = "debian"
""")
    assert [file.guest for file in found.files] == ["/top", "/default", "/own"]


def test_a_vms_own_entry_for_the_same_path_or_target_wins() -> None:
    found = vm("""
[[file]]
guest = "/root/a"
content = "of the file"
[[defaults.file_sync]]
host = "tree"
guest = "/b"
[[mount]]
source = "one"
target = "/m"
fstype = "ext4"
[vm.web]
image = "debian"
[[vm.web.file]]
guest = "~/a"
content = "own"
[[vm.web.file]]
guest = "/b"
content = "own, where the file has a tree"
[[vm.web.mount]]
source = "two"
target = "/m"
fstype = "ext4"
""")
    assert [(file.guest, file.content[:3]) for file in found.files] == [("/root/a", "own"), ("/b", "own")]
    assert found.file_syncs == ()
    assert [mount.source for mount in found.mounts] == ["two"]


def test_a_mount_with_no_options_has_the_option_defaults() -> None:
    text = '[[mount]]\nsource = "x"\ntarget = "/m"\nfstype = "ext4"\noptions = []\n[vm.web]\nimage = "debian"'
    assert vm(text).mounts[0].options == ("defaults",)


def test_a_file_may_lie_on_a_disk_below_a_tmpfs() -> None:
    found = vm("""
[[mount]]
source = "LABEL=x"
target = "/tmp/disk"
fstype = "ext4"
[[file]]
guest = "/tmp/disk/a"
content = ""
[vm.web]
image = "debian"
""")
    assert found.files[0].guest == "/tmp/disk/a"


@pytest.mark.parametrize(
    "why",
    [
        "guest.fstab = false",
        'file = [{ guest = "/etc/fstab", content = "" }]',
        'mount = [{ source = "LABEL=x", target = "/tmp", fstype = "ext4" }]',
    ],
)
def test_a_file_may_lie_in_tmp_where_our_fstab_mounts_no_tmpfs(why: str) -> None:
    found = vm(f'[[file]]\nguest = "/tmp/a"\ncontent = ""\n[vm.web]\nimage = "debian"\n{why}')
    assert "/tmp/a" in [file.guest for file in found.files]


# --- includes, several files, the store


def test_an_included_file_brings_its_names_and_its_paths_start_from_it() -> None:
    write("images/debian/root.tar", "")
    write("images/all.toml", 'include = ["debian/image.toml"]')
    write("images/debian/image.toml", '[image.debian.rootfs]\ntar = "root.tar"')
    manifest = loaded('include = ["images/all.toml"]\n[vm.web]\nimage = "debian"')

    assert manifest.images["debian"].rootfs == TarSource(
        HostPath(Path.cwd() / "images/debian/root.tar", "root.tar")
    )
    assert manifest.files == (Path("vm.toml"), Path("images/all.toml"), Path("images/debian/image.toml"))


def test_a_file_included_by_two_ways_is_read_once() -> None:
    write("image.toml", '[image.debian.rootfs]\ntar = "root.tar"')
    write("sub/a.toml", 'include = ["../image.toml"]')
    write("b.toml", 'include = ["image.toml"]')
    manifest = loaded('include = ["sub/a.toml", "b.toml"]')

    assert list(manifest.images) == ["debian"]
    assert [path.name for path in manifest.files] == ["vm.toml", "a.toml", "image.toml", "b.toml"]


def test_an_include_may_start_from_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write("home/mine.toml", MINIMAL)
    write("home/root.tar", "")
    assert list(loaded('include = ["~/mine.toml"]').vms) == ["web"]


def test_defaults_and_top_level_entries_hold_for_their_own_file_alone() -> None:
    write("other.toml", '[vm.other]\nimage = "debian"')
    manifest = loaded(
        'include = ["other.toml"]\n[[file]]\nguest = "/a"\ncontent = ""\n[defaults]\nvcpus = 8\n' + MINIMAL
    )
    assert (manifest.vms["web"].vcpus, len(manifest.vms["web"].files)) == (8, 1)
    assert (manifest.vms["other"].vcpus, len(manifest.vms["other"].files)) == (1, 0)


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


# --- SSH keys


def test_authorized_keys_are_literal_or_read_from_files_in_the_order_given() -> None:
    write("keys.pub", f"# two keys\n\n{KEY}\r\n  ssh-rsa AAAAB3NzaC1yc2E= two\n")
    option = f'from="10.0.0.0/8,::1",no-pty {KEY}'
    found = vm(f"""
[vm.web]
image = "debian"
ssh_authorized_keys = ['{option}', "keys.pub"]
""")
    assert found.authorized_keys == (option, KEY, "ssh-rsa AAAAB3NzaC1yc2E= two")


def test_a_key_file_of_the_defaults_starts_from_the_manifest() -> None:
    write("sub/id.pub", KEY)
    write("sub/root.tar", "")
    manifest = load([write("sub/vm.toml", '[defaults]\nssh_authorized_keys = ["id.pub"]\n' + MINIMAL)])
    assert manifest.vms["web"].authorized_keys == (KEY,)


def test_a_line_break_at_the_end_of_a_literal_key_does_no_harm() -> None:
    assert vm(f'[vm.web]\nimage = "debian"\nssh_authorized_keys = ["""\n{KEY}\n"""]').authorized_keys == (
        KEY,
    )


# --- warnings


def test_a_host_name_that_linux_does_not_take_gets_a_warning() -> None:
    name = "a" * 60 + ".example"
    manifest = loaded(MINIMAL + f'hostname = "{name}"')
    assert manifest.warnings == (
        "vm.web: its host name is 68 characters long, and Linux takes no more than 64",
    )


@pytest.mark.parametrize("vcpus", [33, 64])
def test_a_number_of_vcpus_that_firecracker_does_not_take_gets_a_warning(vcpus: int) -> None:
    assert loaded(MINIMAL + f"vcpus = {vcpus}").warnings == (
        f"vm.web.vcpus is {vcpus}, and Firecracker takes at most 32",
    )


@pytest.mark.parametrize("vcpus", [1, 3, 32])
def test_a_number_of_vcpus_that_firecracker_takes_gets_none(vcpus: int) -> None:
    assert loaded(MINIMAL + f"vcpus = {vcpus}").warnings == ()


def test_a_warning_about_the_defaults_is_given_once_for_all_vms() -> None:
    manifest = loaded("[defaults]\nvcpus = 40\n" + MINIMAL + '[vm.other]\nimage = "debian"')
    assert manifest.warnings == ("defaults.vcpus is 40, and Firecracker takes at most 32",)


def test_nothing_is_written_while_loading(directory: Path) -> None:
    path = write("vm.toml", FULL_VM)
    before = sorted(directory.rglob("*"))
    load([path])
    with pytest.raises(ManifestError):
        load([path, Path("missing.toml")])
    assert sorted(directory.rglob("*")) == before
