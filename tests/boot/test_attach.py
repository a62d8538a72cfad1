"""`attach.sh` and `detach.sh` on a kernel with device-mapper, with the programs of busybox and of util-linux.

One machine is booted. Its first disk is the image as it was built, its second a store that `apply` has made, in
which a script tries everything twice: with busybox alone, and with dash and util-linux.
"""

from __future__ import annotations

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
from tests.steps.building import DEBIAN, Project, write_tar

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

[vm.web]
image = "debian"

[vm.db]
image = "debian"
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
echo '=== {END}'
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
# Runs attach.sh with a program of that name in front of all others.
attach_with() {
    mkdir -p /fake
    printf '#!/bin/sh\n%s\n' "$2" >"/fake/$1"
    chmod 755 "/fake/$1"
    PATH=/fake:$PATH "$shell" "$web/attach.sh"
    echo "attach: $?"
    rm -r /fake
}
# Tries attach.sh on a store that a command has damaged, and mends it again.
damaged() {
    cp "$web/root.cow" /mnt/kept
    "$@"
    attach "$web"
    left
    cp /mnt/kept "$web/root.cow"
}

section twice
attach "$web"
attach "$web"
ls /sys/block | grep -c '^dm-'
cat /sys/block/loop*/loop/autoclear
mount -t ext4 "$web/root.dev" /disk
cat /disk/etc/hostname
cat /disk/note
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

section owner
chown 1000:1001 "$web/root.cow"
attach "$web"
stat -L -c '%u:%g %a' "$web/root.dev"
detach "$web"
chown 0:0 "$web/root.cow"

section 'in use'
attach "$web"
mount -t ext4 "$web/root.dev" /disk
detach "$web" | sed 's/bangerbuild-web-[0-9a-f]*/NAME/'
ls /disk/etc/hostname
umount /disk
detach "$web"
left

section 'lost link'
attach "$web"
rm "$web/root.dev"
attach "$web"
ls "$web" | grep dev
rm "$web/root.dev"
detach "$web"
left

section 'through a symlink'
ln -s "$web/attach.sh" /tmp-attach
cd /sys
"$shell" /tmp-attach
echo "attach: $?"
cd /
rm /tmp-attach
ls "$web" | grep dev
detach "$web"

section 'moved store'
attach "$web"
mv "$store" /mnt/moved
cp -r /mnt/moved "$store"
rm "$store/vms/web/root.dev"
attach "$web" 2>/dev/null
echo "devices: $(dmsetup ls --target snapshot | wc -l)"
detach /mnt/moved/vms/web
left
attach "$web"
detach "$web"
rm -r /mnt/moved

section 'cut short'
damaged truncate -s 4096 "$web/root.cow" 2>/dev/null
section 'empty'
damaged truncate -s 0 "$web/root.cow"
section 'zeroed'
damaged dd if=/dev/zero "of=$web/root.cow" bs=4096 count=1 conv=notrunc 2>/dev/null
section 'overflowed'
printf '\0' >/zero
damaged dd if=/zero "of=$web/root.cow" bs=1 seek=4 conv=notrunc 2>/dev/null
section 'no image'
mv "$store/images" "$store/gone"
attach "$web" 2>&1 | sed 's/[0-9a-f]\{32\}/FINGERPRINT/'
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
attach_with dmsetup 'case $1 in create) kill -INT $PPID; sleep 1 ;; *) exec /bin/dmsetup "$@" ;; esac'
left
section 'killed'
attach_with dmsetup 'case $1 in create) kill -KILL $PPID ;; *) exec /bin/dmsetup "$@" ;; esac' 2>/dev/null
left
section 'killed late'
attach_with chown 'kill -KILL $PPID' 2>/dev/null
ls /sys/block | grep -c '^dm-'
attach "$web"
ls /sys/block | grep -c '^dm-'
ls "$web" | grep dev
detach "$web"
left
section 'not root'
attach_with id 'echo 1000'
section 'no flock'
attach_with dmsetup 'exit 1' >/dev/null 2>&1
PATH=/nowhere "$(command -v "$shell")" "$web/attach.sh" 2>/dev/null
echo "attach: $?"
left

section 'leftovers'
for trial in detach attach; do
    losetup -r "$(losetup -f)" "$store"/images/*/*/rootfs.ext4
    losetup "$(losetup -f)" "$web/root.cow"
    dmsetup create "bangerbuild-web-$(cd "$web" && pwd -P | sha256sum | cut -c 1-8)" --notable
    $trial "$web"
    ls /sys/block | grep -c '^dm-'
    losetup -a | wc -l
done
detach "$web"
left

section 'the image of another'
losetup -r "$(losetup -f)" "$store"/images/*/*/rootfs.ext4
loop=$(losetup -a | cut -d: -f1)
mount -t ext4 -o ro "$loop" /disk
attach "$web"
cat /disk/etc/hostname
detach "$web"
umount /disk
left

section 'the image'
cmp /dev/vda "$store"/images/*/*/rootfs.ext4 && echo same
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
    command = [need("mke2fs"), "-q", "-t", "ext4", "-d", content, target, "256M"]
    subprocess.run(command, check=True)
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


def test_dump(report):
    for k, v in report.items():
        print("###", k); print(v)
