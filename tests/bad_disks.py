"""The mistakes about disks, seeds and kernels in a manifest: more rows of `tests/bad_manifests.py`."""

from __future__ import annotations

from tests.bad_manifests import IMAGE, KERNEL, WEB, bad

SEEDED = (
    IMAGE + 'image.debian.work_seed = { tar = "root.tar", size = "256MiB" }\n[vm.web]\nimage = "debian"\n'
)


def disk(name: str = "data", size: str = "1GiB", mount: str = "/data") -> str:
    """A VM with one data disk, its table on line 4."""
    return WEB + f'[[vm.web.disk]]\nname = "{name}"\nsize = "{size}"\nmount = "{mount}"\n'


BAD_DISKS = [
    bad(
        "two sources of a seed",
        IMAGE + 'image.debian.work_seed = { tar = "root.tar", directory = "tree" }',
        2,
        "image.debian.work_seed",
        "more than one source: tar and directory",
        "leave one",
    ),
    bad(
        "a seed without a source",
        IMAGE + 'image.debian.work_seed.size = "1GiB"',
        2,
        "image.debian.work_seed",
        "no source",
        "give one of tar, ext4, directory, oci, url, mmdebstrap, image",
    ),
    bad(
        "a seed that is not there",
        IMAGE + 'image.debian.work_seed.directory = "gone"',
        2,
        "image.debian.work_seed.directory",
        "'gone' is not there ({cwd}/gone)",
        "paths are relative to the manifest file they stand in",
    ),
    bad(
        "a filesystem that would have to shrink",
        'image.a.rootfs = { ext4 = "disk.ext4", size = "32MiB" }',
        1,
        "image.a.rootfs.size",
        "size is 32MiB, smaller than 'disk.ext4': 64MiB",
        "make it larger, or leave size out",
    ),
    bad(
        "a kernel that is not there",
        IMAGE + 'image.debian.kernel = "vmlinuz"',
        2,
        "image.debian.kernel",
        "'vmlinuz' is not there ({cwd}/vmlinuz)",
        "paths are relative to the manifest file they stand in",
    ),
    bad(
        "a directory as a kernel",
        IMAGE + 'image.debian.kernel = "tree"',
        2,
        "image.debian.kernel",
        "'tree' is a directory: give a file",
    ),
    bad(
        "a kernel that is a number",
        IMAGE + "image.debian.kernel = 6\nimage.debian.initrd.guest = '/boot/initrd.img'",
        2,
        "image.debian.kernel",
        'kernel is 6: give a path, { guest = "…" } or { url = "…", sha256 = "…" }',
    ),
    bad(
        "a kernel of nothing",
        IMAGE + "image.debian.kernel = {}",
        2,
        "image.debian.kernel",
        'kernel is a table: give a path, { guest = "…" } or { url = "…", sha256 = "…" }',
    ),
    bad(
        "a relative kernel of the guest",
        IMAGE + 'image.debian.kernel.guest = "boot/vmlinuz"',
        2,
        "image.debian.kernel.guest",
        "'boot/vmlinuz' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "a pattern in a directory's name",
        IMAGE + 'image.debian.kernel.guest = "/boot*/vmlinuz"',
        2,
        "image.debian.kernel.guest",
        "'/boot*/vmlinuz' has a pattern in the name of a directory",
        "only the last component may hold * and ?",
    ),
    bad(
        "the guest's root directory as a kernel",
        IMAGE + 'image.debian.kernel.guest = "/"',
        2,
        "image.debian.kernel.guest",
        "'/' is the guest's root directory itself",
        "name a file or directory in it",
    ),
    bad(
        "a digest of a kernel in the guest",
        IMAGE + f'image.debian.kernel = {{ guest = "/vmlinuz", sha256 = "{"0" * 64}" }}',
        2,
        "image.debian.kernel.sha256",
        "'sha256' goes with 'url' only",
    ),
    bad(
        "a kernel with an address that is none",
        IMAGE + f'image.debian.kernel = {{ url = 5, sha256 = "{"0" * 64}" }}',
        2,
        "image.debian.kernel.url",
        'url is 5: give an address such as "https://…"',
    ),
    bad(
        "an initrd without a kernel",
        IMAGE + 'image.debian.initrd.guest = "/initrd.img"',
        2,
        "image.debian.initrd",
        "an initrd, but no kernel",
        "give kernel, or leave initrd out",
    ),
    bad(
        "a root device on the kernel's command line",
        KERNEL + 'image.debian.cmdline = "console=ttyS0 root=/dev/vda rw"',
        3,
        "image.debian.cmdline",
        "cmdline holds 'root=/dev/vda'",
        "leave it out: root= is added where it is needed",
    ),
    bad(
        "a raw root that is too small",
        WEB + 'root = { format = "raw", size = "15MiB" }',
        4,
        "vm.web.root.size",
        "size is '15MiB', too small a disk",
        "give at least 16MiB",
    ),
    bad(
        "a raw root smaller than its image",
        'image.debian.rootfs.size = "2GiB"\n' + WEB + 'root = { format = "raw", size = "1GiB" }',
        5,
        "vm.web.root.size",
        "size is '1GiB', smaller than image 'debian': 2GiB",
        "make it larger, or leave size out",
    ),
    bad(
        "a raw root smaller than the file its image is made of",
        """\
image.a.rootfs.ext4 = "disk.ext4"
[vm.web]
image = "a"
root = { format = "raw", size = "32MiB" }
""",
        4,
        "vm.web.root.size",
        "size is '32MiB', smaller than image 'a': 64MiB",
        "make it larger, or leave size out",
    ),
    bad(
        "a raw root of the defaults that a VM's image does not fit in",
        """\
image.a.rootfs.ext4 = "disk.ext4"
[defaults]
root.format = "raw"
root.size = "32MiB"
[vm.web]
image = "a"
""",
        4,
        "defaults.root.size",
        "size is '32MiB', smaller than image 'a': 64MiB",
        "make it larger, or leave size out",
    ),
    bad(
        "a work disk that is too small",
        WEB + "work.size = 4096",
        4,
        "vm.web.work.size",
        "size is 4096, too small a disk",
        "give at least 16MiB",
    ),
    bad(
        "a work disk smaller than the declared size of its seed",
        SEEDED + 'work.size = "128MiB"',
        5,
        "vm.web.work.size",
        "size is '128MiB', smaller than the work_seed of image 'debian': 256MiB",
        "make it larger, or leave size out",
    ),
    bad(
        "a work disk smaller than the file its seed is made of",
        IMAGE + 'image.debian.work_seed.ext4 = "disk.ext4"\n[vm.web]\nimage = "debian"\nwork.size = "63MiB"',
        5,
        "vm.web.work.size",
        "size is '63MiB', smaller than the work_seed of image 'debian': 64MiB",
        "make it larger, or leave size out",
    ),
    bad(
        "a work disk larger than the file of its seed but not than the seed's declared size",
        IMAGE
        + """\
image.debian.work_seed = { ext4 = "disk.ext4", size = "1GiB" }
[vm.web]
image = "debian"
work.size = "128MiB"
""",
        5,
        "vm.web.work.size",
        "size is '128MiB', smaller than the work_seed of image 'debian': 1GiB",
        "make it larger, or leave size out",
    ),
    bad(
        "a work disk with a size that is none",
        WEB + 'work.size = "large"',
        4,
        "vm.web.work.size",
        "size is 'large': give a number of bytes or a size such as \"2GiB\"",
    ),
    bad(
        "a work disk of neither size nor seed",
        WEB + 'work.mount = "/srv"',
        4,
        "vm.web.work",
        "a work disk without a size, and image 'debian' has no work_seed",
        "give work.size",
    ),
    bad(
        "a work disk over the guest's root",
        SEEDED + 'work.mount = "/"',
        5,
        "vm.web.work.mount",
        "'/' is where the root disk is mounted",
        "mount it elsewhere",
    ),
    bad(
        "a work disk under a tmpfs",
        SEEDED + 'work.mount = "/run/work"',
        5,
        "vm.web.work.mount",
        "mount point '/run/work' is under the tmpfs on '/run'",
        "mount it elsewhere",
    ),
    bad(
        "a disk without a mount point",
        WEB + 'disk = [{ name = "d", size = "1GiB" }]',
        4,
        "vm.web.disk[0]",
        "'mount' is missing",
    ),
    bad(
        "a disk's name over 16 bytes",
        disk(name="seventeen-letters"),
        5,
        "vm.web.disk[0].name",
        "name is 'seventeen-letters': give at most 16 (an ext4 label has no more) of a-z, 0-9 and, "
        "not first, '-' and '_'",
    ),
    bad(
        "a disk named as the root disk",
        disk(name="root"),
        5,
        "vm.web.disk[0].name",
        "'root' is the name of the VM's own root disk",
        "name it otherwise",
    ),
    bad(
        "a disk named as the work disk of a VM that has none",
        disk(name="work"),
        5,
        "vm.web.disk[0].name",
        "'work' is the name of the VM's own work disk",
        "name it otherwise",
    ),
    bad(
        "a disk that is too small",
        disk(size="1MiB"),
        6,
        "vm.web.disk[0].size",
        "size is '1MiB', too small a disk",
        "give at least 16MiB",
    ),
    bad(
        "a disk that is no multiple of 4096",
        WEB + 'disk = [{ name = "d", size = 20000001, mount = "/d" }]',
        4,
        "vm.web.disk[0].size",
        "size is 20000001, which is not a multiple of 4096",
        "the nearest is 20000768",
    ),
    bad(
        "a relative mount point of a disk",
        disk(mount="data"),
        7,
        "vm.web.disk[0].mount",
        "'data' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "a disk over the guest's root",
        disk(mount="/"),
        7,
        "vm.web.disk[0].mount",
        "'/' is where the root disk is mounted",
        "mount it elsewhere",
    ),
    bad(
        "a disk under the default tmpfs",
        disk(mount="/tmp/data"),
        7,
        "vm.web.disk[0].mount",
        "mount point '/tmp/data' is under the tmpfs on '/tmp'",
        "mount it elsewhere",
    ),
    bad(
        "a disk under a declared tmpfs",
        disk(mount="/scratch/data") + '[[mount]]\nsource = "x"\ntarget = "/scratch"\nfstype = "ramfs"',
        7,
        "vm.web.disk[0].mount",
        "mount point '/scratch/data' is under the ramfs on '/scratch'",
        "mount it elsewhere",
    ),
    bad(
        "two disks of one name",
        disk() + '[[vm.web.disk]]\nname = "data"\nsize = "1GiB"\nmount = "/other"',
        9,
        "vm.web.disk[1].name",
        "disk name 'data' is given twice, first in vm.web.disk[0] (vm.toml:4)",
    ),
    bad(
        "two disks at one mount point",
        disk() + '[[vm.web.disk]]\nname = "other"\nsize = "1GiB"\nmount = "/data"',
        11,
        "vm.web.disk[1].mount",
        "mount target '/data' is given twice, first in vm.web.disk[0] (vm.toml:4)",
    ),
    bad(
        "a disk where the work disk is mounted",
        disk(mount="~") + '[image.debian.work_seed]\ntar = "root.tar"',
        7,
        "vm.web.disk[0].mount",
        "mount target '/root' is given twice, first by the work disk",
    ),
    bad(
        "a mount where the work disk is mounted",
        SEEDED + '[[vm.web.mount]]\nsource = "x"\ntarget = "/root"\nfstype = "ext4"',
        7,
        "vm.web.mount[0].target",
        "mount target '/root' is given twice, first by the work disk",
    ),
    bad(
        "a mount of the file where a VM's disk is mounted",
        disk() + '[[mount]]\nsource = "x"\ntarget = "/data"\nfstype = "ext4"',
        10,
        "mount[0].target",
        "mount target '/data' is given twice, first in vm.web.disk[0] (vm.toml:4)",
    ),
    bad(
        "a file of a VM under a tmpfs on its disk",
        disk()
        + """\
[[vm.web.mount]]
source = "tmpfs"
target = "/data/scratch"
fstype = "tmpfs"
[[vm.web.file]]
guest = "/data/scratch/a"
content = ""
""",
        13,
        "vm.web.file[0].guest",
        "guest path '/data/scratch/a' is under the tmpfs on '/data/scratch'",
        "the guest would never see it: put it elsewhere",
    ),
    bad(
        "a name that two disks of the defaults have",
        IMAGE
        + """\
[defaults]
image = "debian"
disk = [{ name = "d", size = "1G", mount = "/a" }, { name = "d", size = "1G", mount = "/b" }]
[vm.a]
[vm.b]
""",
        4,
        "defaults.disk[1].name",
        "disk name 'd' is given twice, first in defaults.disk[0] (vm.toml:4)",
    ),
]
