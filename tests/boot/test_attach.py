"""`attach.sh` and `detach.sh` on a kernel with device-mapper, with the programs of busybox and of util-linux.

One machine is booted. Its first disk is the image as it was built, its second a store that `apply` has made.
There a script tries what there is to try: with busybox alone, then, and more of it, with dash and util-linux.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.boot.debian import KERNEL, ROOTFS, tarball
from tests.boot.initrd import LIBRARIES, LOADER, Cpio, PackageTree, modules_in_order
from tests.boot.machine import END, Machine
from tests.need import need
from tests.projects import DEBIAN, Project, write_tar

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.boot

ROUNDS = ("busybox", "util-linux")
MODULES = ("virtio_pci", "virtio_blk", "virtio_rng", "loop", "dm_snapshot", "ext4")
UTIL_LINUX = ("losetup", "blockdev", "flock", "dash")
NOTHING_LEFT = "No devices found\n"
"""What `left` says where there is no loop device, no snapshot and no root.dev."""

MANIFEST = """\
[image.debian.rootfs]
tar = "root.tar"
size = "24MiB"

[defaults]
image = "debian"
root.size = "4MiB"

[vm.web]
[vm.db]
"""

INIT = f"""\
#!/bin/busybox sh
export PATH=/bin LD_LIBRARY_PATH=/lib DM_DISABLE_UDEV=1
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
    insmod "/modules/$module"
done </modules.order
exec >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo
mount -t ext4 /dev/vdb /mnt
sh /mnt/trial.sh busybox sh
PATH=/util-linux:/bin sh /mnt/trial.sh util-linux dash
umount /mnt
echo
echo '=== {END}'
stty -F /dev/ttyS1 raw # waits until all is written; poweroff -f would not
sleep 1
poweroff -f
"""

TRIAL = r"""
round=$1 shell=$2
store="/mnt/my store"
web="$store/vms/web" db="$store/vms/db"

section() {
    printf '\n=== %s: %s\n' "$round" "$1"
}
attach() {
    "$shell" "$1/attach.sh"
    echo "attach: $?"
}
detach() {
    "$shell" "$1/detach.sh"
    echo "detach: $?"
}
left() {
    losetup -a
    dmsetup ls --target snapshot
    ls "$store"/vms/*/root.dev 2>/dev/null
}
hold_image() {
    losetup -r "$(losetup -f)" "$store"/images/*/*/rootfs.ext4
}
# Attaches a store that a command has damaged, and mends it again.
damaged() {
    cp "$web/root.cow" /mnt/kept
    "$@"
    attach "$web"
    left
    cp /mnt/kept "$web/root.cow"
}
zero_header() {
    dd if=/dev/zero "of=$web/root.cow" bs=4096 count=1 conv=notrunc 2>/dev/null
}
mark_invalid() { # as the kernel does when a store is full
    printf '\0' | dd "of=$web/root.cow" bs=1 seek=4 conv=notrunc 2>/dev/null
}
# Attaches with a program in front of that of the same name.
attach_with() {
    mkdir -p /fake
    printf '#!/bin/sh\n%s\n' "$2" >"/fake/$1"
    chmod 755 "/fake/$1"
    PATH=/fake:$PATH "$shell" "$web/attach.sh" 2>&1
    echo "attach: $?"
    rm -r /fake
}

section twice
attach "$web"
attach "$web"
ls /sys/block | grep -c '^dm-'
cat /sys/block/loop*/loop/autoclear
mount -t ext4 "$web/root.dev" /disk
cat /disk/etc/hostname
echo "from $round" >/disk/note
umount /disk
detach "$web"
detach "$web"
left

section 'what a guest wrote'
attach "$web"
mount -t ext4 -o ro "$web/root.dev" /disk
cat /disk/note
umount /disk
detach "$web"

section 'two at once'
attach "$web" >/attached-web &
attach "$db" >/attached-db
wait
cat /attached-web /attached-db
for vm in "$web" "$db"; do
    mount -t ext4 -o ro "$vm/root.dev" /disk
    cat /disk/etc/hostname
    umount /disk
done
detach "$web"
dmsetup ls --target snapshot | wc -l
detach "$db"
left

section 'through a symlink'
ln -s "$web/attach.sh" /start
cd /sys
"$shell" /start
echo "attach: $?"
cd /
rm /start
ls "$web" | grep dev
detach "$web"

section 'cut short'
damaged truncate -s 4096 "$web/root.cow" 2>&1

section 'full'
damaged mark_invalid 2>&1

section 'leftovers'
for trial in detach attach; do
    hold_image
    losetup "$(losetup -f)" "$web/root.cow"
    dmsetup create "bangerbuild-web-$(cd "$web" && pwd -P | sha256sum | cut -c 1-8)" --notable
    $trial "$web"
    ls /sys/block | grep -c '^dm-'
    losetup -a | wc -l
done
detach "$web"
left

section 'the image'
cmp /dev/vda "$store"/images/*/*/rootfs.ext4 && echo same

[ "$round" = util-linux ] || exit 0

section owner
chown 1000:1001 "$web/root.cow"
attach "$web"
stat -L -c '%u:%g %a' "$web/root.dev"
detach "$web"
chown 0:0 "$web/root.cow"

section 'in use'
attach "$web"
mount -t ext4 "$web/root.dev" /disk
detach "$web" 2>&1 | tail -n 2
ls -1 "$web/root.dev" /disk/etc/hostname
umount /disk
detach "$web"
left

section 'held'
loop=$(losetup -f)
losetup "$loop" "$web/root.cow"
mount -t ext4 -o ro /dev/vda /disk
exec 5<"$loop"
attach "$web" 2>&1
exec 5<&-
umount /disk
left

section 'lost link'
attach "$web"
rm "$web/root.dev"
attach "$web"
ls "$web" | grep dev
rm "$web/root.dev"
detach "$web"
left

section 'moved'
attach "$web"
mv "$store" /mnt/moved
cp -r /mnt/moved "$store"
rm "$web/root.dev"
attach "$web" 2>&1 | tail -n 1
ls "$store"/vms/*/root.dev 2>/dev/null
dmsetup ls --target snapshot | wc -l
detach /mnt/moved/vms/web
left
attach "$web"
detach "$web"
rm -r /mnt/moved

section 'empty'
damaged truncate -s 0 "$web/root.cow" 2>&1

section 'zeroed'
damaged zero_header 2>&1

section 'no image'
mv "$store/images" "$store/gone"
attach "$web" 2>&1
left
mv "$store/gone" "$store/images"

section 'dmsetup fails'
attach_with dmsetup 'case $1 in create) exit 1 ;; *) exec /bin/dmsetup "$@" ;; esac'
left

section 'dmsetup fails late'
attach_with dmsetup 'case $1 in status) exit 1 ;; *) exec /bin/dmsetup "$@" ;; esac'
left

section 'the link fails'
attach_with ln 'exit 1'
left

section 'interrupted'
attach_with dmsetup 'case $1 in create) kill -INT $PPID ;; esac; exec /bin/dmsetup "$@"'
left

section 'killed'
attach_with dmsetup 'case $1 in create) kill -KILL $PPID ;; *) exec /bin/dmsetup "$@" ;; esac' | tail -n 1
sleep 1
left

section 'killed late'
attach_with chown 'kill -KILL $PPID' | tail -n 1
ls "$web" | grep dev
attach "$web"
ls /sys/block | grep -c '^dm-'
ls "$web" | grep dev
detach "$web"
left

section 'not root'
attach_with id 'echo 1000'

section 'the image of another'
loop=$(losetup -f)
hold_image
mount -t ext4 -o ro "$loop" /disk
attach "$web"
cat /disk/etc/hostname
detach "$web"
umount /disk
left
"""


@pytest.fixture(scope="module")
def report(scratch: Path) -> dict[str, str]:
    """What the trial said in each round."""
    directory = scratch / "attach"
    store = directory / "disk" / "my store"
    project = Project(directory / "project")
    project.directory.mkdir(parents=True)
    write_tar(project.directory / "root.tar", DEBIAN)
    project.write(MANIFEST)
    project.build()
    shutil.copytree(project.store, store)
    (store.parent / "trial.sh").write_text(TRIAL)
    kernel, initrd = _boot_files(directory)
    disk = _disk(store.parent, directory / "store.ext4")
    return Machine("attach", kernel, initrd, project.image(), disk, "06:00:00:00:00:01", directory).boot()


def _disk(content: Path, target: Path) -> Path:
    command = [need("mke2fs"), "-q", "-t", "ext4", "-d", str(content), str(target), "256M"]
    subprocess.run(command, check=True, capture_output=True)
    return target


def _boot_files(directory: Path) -> tuple[Path, Path]:
    """The kernel, and an initrd with what both rounds need."""
    kernel, initrd = directory / "vmlinuz", directory / "initrd.img"
    with tarfile.open(tarball(KERNEL)) as packages, tarfile.open(tarball(ROOTFS)) as rootfs:
        tree, debian = PackageTree(packages), PackageTree(rootfs)
        (name,) = tree.names("vmlinuz-")
        kernel.write_bytes(tree.read(name))
        initrd.write_bytes(_initrd(tree, debian))
    return kernel, initrd


def _initrd(tree: PackageTree, debian: PackageTree) -> bytes:
    archive = Cpio()
    for name in ("bin", "dev", "disk", "lib", "lib64", "mnt", "modules", "proc", "sys", "util-linux"):
        archive.add(name, stat.S_IFDIR | 0o755)
    programs = {f"bin/{name}": tree.read(name) for name in ("busybox", "dmsetup")}
    programs |= {f"util-linux/{name}": debian.read(name) for name in UTIL_LINUX}
    programs["bin/flock"] = debian.read("flock")  # Debian builds its busybox without
    programs |= {f"lib/{name}": tree.read(name) for name in LIBRARIES}
    programs["lib/libsmartcols.so.1"] = debian.read("libsmartcols.so.1")
    programs[f"lib64/{LOADER}"] = tree.read(LOADER)
    modules = modules_in_order(tree, MODULES)
    programs |= {f"modules/{name}": content for name, content in modules.items()}
    programs["modules.order"] = "".join(f"{name}\n" for name in modules).encode()
    programs["init"] = INIT.encode()
    for name, content in programs.items():
        archive.add(name, stat.S_IFREG | 0o755, content)
    archive.add("TRAILER!!!", 0)
    return bytes(archive.content)


Report = dict[str, str]
each_round = pytest.mark.parametrize("programs", ROUNDS)


@each_round
def test_attaching_and_detaching_twice_is_as_good_as_once(report: Report, programs: str) -> None:
    assert report[f"{programs}: twice"] == (
        "attach: 0\nattach: 0\n1\n1\n1\nweb\ndetach: 0\ndetach: 0\n" + NOTHING_LEFT
    )


@each_round
def test_what_a_guest_has_written_is_there_when_it_is_attached_again(report: Report, programs: str) -> None:
    assert report[f"{programs}: what a guest wrote"] == f"attach: 0\nfrom {programs}\ndetach: 0\n"


@each_round
def test_two_vms_of_one_image_are_attached_at_once_and_detached_one_by_one(
    report: Report, programs: str
) -> None:
    assert report[f"{programs}: two at once"] == (
        "attach: 0\nattach: 0\nweb\ndb\ndetach: 0\n1\ndetach: 0\n" + NOTHING_LEFT
    )


@each_round
def test_a_symlink_from_elsewhere_attaches_in_the_vms_directory(report: Report, programs: str) -> None:
    assert report[f"{programs}: through a symlink"] == "attach: 0\nroot.dev\ndetach: 0\n"


@each_round
def test_a_store_that_is_cut_short_is_not_attached_and_nothing_is_left(report: Report, programs: str) -> None:
    said = report[f"{programs}: cut short"]
    assert said.endswith(
        f"attach.sh: root.cow can't be attached; the kernel's log may tell why\nattach: 1\n{NOTHING_LEFT}"
    )


@each_round
def test_a_store_that_was_full_is_not_attached_and_nothing_is_left(report: Report, programs: str) -> None:
    said = "root.cow has become invalid: the store overflowed or failed, and its data is gone"
    assert report[f"{programs}: full"] == f"attach.sh: {said}\nattach: 1\n{NOTHING_LEFT}"


@each_round
def test_what_a_killed_run_left_is_swept_before_anything_else(report: Report, programs: str) -> None:
    assert report[f"{programs}: leftovers"] == (
        "detach: 0\n0\n0\nattach: 0\n1\n2\ndetach: 0\n" + NOTHING_LEFT
    )


@each_round
def test_the_image_stays_byte_for_byte_what_it_was(report: Report, programs: str) -> None:
    assert report[f"{programs}: the image"] == "same\n"


def test_the_device_is_for_the_owner_of_the_store_alone(report: Report) -> None:
    assert report["util-linux: owner"] == "attach: 0\n1000:1001 600\ndetach: 0\n"


def test_a_mounted_root_is_not_detached(report: Report) -> None:
    assert report["util-linux: in use"] == (
        "attach: 0\n"
        "detach.sh: root.dev is in use: shut the VM down, or unmount it\n"
        "detach: 1\n"
        "/disk/etc/hostname\n/mnt/my store/vms/web/root.dev\n"
        "detach: 0\n" + NOTHING_LEFT
    )


def test_a_store_that_another_loop_device_holds_is_not_attached(report: Report) -> None:
    assert report["util-linux: held"] == ("attach.sh: root.cow is held by loop0\nattach: 1\n" + NOTHING_LEFT)


def test_a_lost_link_is_made_again_and_is_not_missed_by_detach(report: Report) -> None:
    assert report["util-linux: lost link"] == "attach: 0\nattach: 0\nroot.dev\ndetach: 0\n" + NOTHING_LEFT


def test_a_copy_of_an_attached_store_is_not_taken_for_the_store_itself(report: Report) -> None:
    assert report["util-linux: moved"] == (
        "attach: 0\nattach: 1\n1\ndetach: 0\n" + NOTHING_LEFT + "attach: 0\ndetach: 0\n"
    )


@pytest.mark.parametrize("damage", ["empty", "zeroed"])
def test_what_the_kernel_would_take_for_a_new_store_is_not_attached(report: Report, damage: str) -> None:
    said = f"attach.sh: root.cow is no snapshot store\nattach: 1\n{NOTHING_LEFT}"
    assert report[f"util-linux: {damage}"] == said


def test_a_missing_image_is_named(report: Report) -> None:
    assert re.fullmatch(
        r"attach\.sh: the image '\.\./\.\./images/debian/\w+/rootfs\.ext4' is not there\n"
        rf"attach: 1\n{NOTHING_LEFT}",
        report["util-linux: no image"],
    )


@pytest.mark.parametrize("failure", ["dmsetup fails", "dmsetup fails late", "the link fails", "interrupted"])
def test_a_run_that_fails_half_way_leaves_nothing(report: Report, failure: str) -> None:
    assert report[f"util-linux: {failure}"].endswith(f"attach: 1\n{NOTHING_LEFT}")


def test_loop_devices_end_with_a_run_that_is_killed(report: Report) -> None:
    assert report["util-linux: killed"] == f"attach: 137\n{NOTHING_LEFT}"


def test_a_run_that_was_killed_at_its_end_is_completed_by_the_next(report: Report) -> None:
    assert report["util-linux: killed late"] == (
        "attach: 137\nattach: 0\n1\nroot.dev\ndetach: 0\n" + NOTHING_LEFT
    )


def test_an_ordinary_user_is_told_that_it_takes_root(report: Report) -> None:
    assert report["util-linux: not root"] == "attach.sh: needs root\nattach: 1\n"


def test_an_image_that_somebody_has_mounted_stays_mounted(report: Report) -> None:
    assert report["util-linux: the image of another"] == "attach: 0\nimage\ndetach: 0\n" + NOTHING_LEFT
