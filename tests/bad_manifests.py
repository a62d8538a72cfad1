"""Every mistake in a manifest that is told by line: the text, and the one problem it gives.

Those about disks, seeds and kernels are in `tests/bad_disks.py`. All are read in a directory that
`tests/test_manifest_problems.py` furnishes.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGE = 'image.debian.rootfs.tar = "root.tar"\n'
KERNEL = IMAGE + 'image.debian.kernel.guest = "/boot/vmlinuz-*"\n'
WEB = IMAGE + '[vm.web]\nimage = "debian"\n'
LONG_LABEL = f'hostname = "{"a" * 64}"'
LONG_HOSTNAME = f'hostname = "{".".join(["a" * 50] * 5)}"'
LONG_COMPONENT = f'file = [{{ content = "", guest = "/{"é" * 128}" }}]'


@dataclass(frozen=True)
class Bad:
    """A manifest with one mistake. `{cwd}` in the message is the current directory."""

    what: str
    text: str
    line: int
    key: str
    message: str
    hint: str | None


def bad(what: str, text: str, line: int, key: str, message: str, hint: str | None = None) -> Bad:  # noqa: PLR0917  a row of the table
    """One row."""
    return Bad(what, text, line, key, message, hint)


BAD = [
    bad("unknown key at the top", "imags = {}", 1, "imags", "unknown key 'imags'", "did you mean 'image'?"),
    bad(
        "unknown key of a VM",
        WEB + 'hostnme = "x"',
        4,
        "vm.web.hostnme",
        "unknown key 'hostnme'",
        "did you mean 'hostname'?",
    ),
    bad(
        "unknown key that is near nothing",
        WEB + "guest.zzz = true",
        4,
        "vm.web.guest.zzz",
        "unknown key 'zzz'",
        "known here: fstab, hostname, hosts, identity, network, resolv_conf, sshd",
    ),
    bad(
        "text for a number",
        WEB + 'vcpus = "2"',
        4,
        "vm.web.vcpus",
        "vcpus is '2': give a whole number of at least 1",
    ),
    bad(
        "a fraction for a whole number",
        WEB + "vcpus = 2.0",
        4,
        "vm.web.vcpus",
        "vcpus is 2.0: give a whole number of at least 1",
    ),
    bad(
        "a truth value for a number",
        WEB + "vcpus = true",
        4,
        "vm.web.vcpus",
        "vcpus is true: give a whole number of at least 1",
    ),
    bad(
        "no virtual CPU",
        WEB + "vcpus = 0",
        4,
        "vm.web.vcpus",
        "vcpus is 0: give a whole number of at least 1",
    ),
    bad(
        "a table for text",
        WEB + "hostname = { a = 1 }",
        4,
        "vm.web.hostname",
        "hostname is a table: give a host name",
    ),
    bad(
        "a date for text",
        WEB + "hostname = 1979-05-27",
        4,
        "vm.web.hostname",
        "hostname is 1979-05-27: give a host name",
    ),
    bad(
        "an array for a table", WEB + "network = []", 4, "vm.web.network", "network is an array: give a table"
    ),
    bad(
        "a size in words",
        WEB + 'root.size = "2 gigs"',
        4,
        "vm.web.root.size",
        "size is '2 gigs': give a number of bytes or a size such as \"2GiB\"",
    ),
    bad(
        "a size with a unit of 1000",
        WEB + 'root.size = "2GB"',
        4,
        "vm.web.root.size",
        "size is '2GB': give a number of bytes or a size such as \"2GiB\"",
    ),
    bad(
        "a negative size",
        WEB + "root.size = -1",
        4,
        "vm.web.root.size",
        'size is -1: give a number of bytes or a size such as "2GiB"',
    ),
    bad(
        "a size with a line break after it",
        WEB + 'root.size = "2GiB\\n"',
        4,
        "vm.web.root.size",
        "size is '2GiB\\n': give a number of bytes or a size such as \"2GiB\"",
    ),
    bad(
        "a word that is no choice",
        WEB + 'root.on_new_base = "keeep"',
        4,
        "vm.web.root.on_new_base",
        'on_new_base is \'keeep\': give "block" or "keep"',
    ),
    bad(
        "a work disk without a size",
        WEB + "work = true",
        4,
        "vm.web.work",
        "work is true: give a table, or false for no work disk",
    ),
    bad(
        "a MAC address of five bytes",
        WEB + 'network.mac = "06:00:ac:10:00"',
        4,
        "vm.web.network.mac",
        "mac is '06:00:ac:10:00': give six hexadecimal bytes, such as \"06:00:ac:10:00:0a\"",
    ),
    bad(
        "a tap device over 15 bytes",
        WEB + 'network.tap = "tap-much-too-long"',
        4,
        "vm.web.network.tap",
        "tap is 'tap-much-too-long': give at most 15 letters, digits, '.', '-' and '_'",
    ),
    bad(
        "a number in a list of text",
        WEB + 'drop_mounts = ["/a", 5]',
        4,
        "vm.web.drop_mounts[1]",
        'drop_mounts[1] is 5: give a path inside the guest, such as "/etc/app.conf"',
    ),
    bad(
        "a mode that is a number",
        WEB
        + """\
[[vm.web.file]]
guest = "/a"
content = ""
mode = 644
""",
        7,
        "vm.web.file[0].mode",
        'mode is 644: give an octal string such as "0644"',
    ),
    bad(
        "a mode in letters",
        WEB
        + """\
[[vm.web.file]]
guest = "/a"
content = ""
mode = "u=rw"
""",
        7,
        "vm.web.file[0].mode",
        "mode is 'u=rw': give an octal string such as \"0644\"",
    ),
    bad(
        "an owner without a group",
        WEB
        + """\
[[vm.web.file]]
guest = "/a"
content = ""
owner = "root"
""",
        7,
        "vm.web.file[0].owner",
        'owner is \'root\': give "user:group", such as "root:root" or "1000:1000"',
    ),
    bad(
        "a file without content",
        WEB
        + """\
[[vm.web.file]]
guest = "/a"
""",
        4,
        "vm.web.file[0]",
        "'content' is missing",
    ),
    bad(
        "a mount source with a line break",
        WEB + '[[vm.web.mount]]\nsource = "a\\nb"\ntarget = "/m"\nfstype = "x"',
        5,
        "vm.web.mount[0].source",
        "source is 'a\\nb': give text on one line, not empty",
    ),
    bad(
        "a VM name in capitals",
        """\
[vm.Web]
image = "x"
""",
        1,
        "vm.Web",
        "'Web' is no name for a VM: give at most 63 of a-z, 0-9 and, not first, '-' and '_'",
    ),
    bad(
        "an image name with a line break",
        '[image."a\\n"]\nrootfs = 1',
        1,
        'image."a\\n"',
        "'a\\n' is no name for an image: give at most 63 of a-z, 0-9 and, not first, '-' and '_'",
    ),
    bad(
        "a mistake in the defaults",
        """\
[defaults]
memory = "lots"
""",
        2,
        "defaults.memory",
        "memory is 'lots': give a number of bytes or a size such as \"2GiB\"",
    ),
    bad(
        "an image without a root filesystem",
        """\
[image.a]
cmdline = "x"
""",
        1,
        "image.a",
        "'rootfs' is missing",
    ),
    bad(
        "an include that is no list", 'include = "a.toml"', 1, "include", "include is 'a.toml': give an array"
    ),
    bad(
        "a kernel command line of two lines",
        'image.a.rootfs.tar = "root.tar"\nimage.a.cmdline = "a\\nb"',
        2,
        "image.a.cmdline",
        "cmdline is 'a\\nb': give text on one line",
    ),
    bad(
        "no source",
        """\
[image.a.rootfs]
size = "1GiB"
""",
        1,
        "image.a.rootfs",
        "no source",
        "give one of tar, ext4, directory, oci, url, mmdebstrap, image",
    ),
    bad(
        "two sources",
        """\
[image.a.rootfs]
tar = "root.tar"
ext4 = "disk.ext4"
""",
        1,
        "image.a.rootfs",
        "more than one source: tar and ext4",
        "leave one",
    ),
    bad(
        "owners with a tarball",
        """\
[image.a.rootfs]
tar = "root.tar"
owner = "keep"
""",
        3,
        "image.a.rootfs.owner",
        "'owner' goes with 'directory' only, not with 'tar'",
    ),
    bad(
        "a source that is not there",
        """\
[image.a.rootfs]
tar = "rot.tar"
""",
        2,
        "image.a.rootfs.tar",
        "'rot.tar' is not there ({cwd}/rot.tar)",
        "paths are relative to the manifest file they stand in",
    ),
    bad(
        "a directory as a tarball",
        """\
[image.a.rootfs]
tar = "tree"
""",
        2,
        "image.a.rootfs.tar",
        "'tree' is a directory: give a file",
    ),
    bad(
        "a file as a directory",
        """\
[image.a.rootfs]
directory = "root.tar"
""",
        2,
        "image.a.rootfs.directory",
        "'root.tar' is a file: give a directory",
    ),
    bad(
        "a socket as a filesystem",
        """\
[image.a.rootfs]
ext4 = "socket"
""",
        2,
        "image.a.rootfs.ext4",
        "'socket' is a socket: give a file",
    ),
    bad(
        "a symlink to nothing",
        """\
[image.a.rootfs]
tar = "dangling"
""",
        2,
        "image.a.rootfs.tar",
        "'dangling' is a symlink to 'nowhere', which is not there",
    ),
    bad(
        "a symlink to itself",
        """\
[image.a.rootfs]
tar = "loop"
""",
        2,
        "image.a.rootfs.tar",
        "'loop' can't be read: too many levels of symbolic links ({cwd}/loop)",
    ),
    bad(
        "the home directory of an unknown user",
        """\
[image.a.rootfs]
tar = "~nobody-here/x"
""",
        2,
        "image.a.rootfs.tar",
        "'~nobody-here/x' starts with the home directory of an unknown user",
    ),
    bad(
        "a path through a file",
        """\
[image.a.rootfs]
tar = "root.tar/x"
""",
        2,
        "image.a.rootfs.tar",
        "'root.tar/x' can't be read: not a directory ({cwd}/root.tar/x)",
    ),
    bad(
        "a size over 1 EiB",
        """\
[image.a.rootfs]
tar = "root.tar"
size = "99999999T"
""",
        3,
        "image.a.rootfs.size",
        "'99999999T' is more than any disk holds (1 EiB)",
    ),
    bad(
        "an image name misspelt",
        IMAGE
        + """\
[vm.web]
image = "debain"
""",
        3,
        "vm.web.image",
        "unknown image 'debain'",
        "did you mean 'debian'?",
    ),
    bad(
        "an unknown image",
        IMAGE
        + """\
[vm.web]
image = "x"
""",
        3,
        "vm.web.image",
        "unknown image 'x'",
        "define it in [image.x]",
    ),
    bad(
        "an image where there are none",
        """\
[vm.web]
image = "x"
""",
        2,
        "vm.web.image",
        "unknown image 'x'",
        "define it in [image.x]",
    ),
    bad(
        "a VM without an image",
        IMAGE + "[vm.web]",
        2,
        "vm.web.image",
        "no image",
        "give one of [image.*]; for all VMs, in [defaults]",
    ),
    bad(
        "an unknown image in the defaults of two VMs",
        IMAGE
        + """\
[defaults]
image = "x"
[vm.a]
[vm.b]
""",
        3,
        "defaults.image",
        "unknown image 'x'",
        "define it in [image.x]",
    ),
    bad(
        "memory that is no multiple of 1 MiB",
        WEB + "memory = 1000000",
        4,
        "vm.web.memory",
        "memory is 1000000, which is not a multiple of 1 MiB",
    ),
    bad(
        "a store too small for its metadata",
        WEB + 'root.size = "1000K"',
        4,
        "vm.web.root.size",
        "size is '1000K', too small a store for its own metadata and a patch",
        "give at least 1MiB, or leave size out for room for every block of the image",
    ),
    bad(
        "a host name with an underscore",
        WEB + 'hostname = "a_b"',
        4,
        "vm.web.hostname",
        "'a_b' is no host name: its labels are letters, digits and inner hyphens",
    ),
    bad(
        "a VM name that is no host name",
        IMAGE
        + """\
[vm.a_b]
image = "debian"
""",
        2,
        "vm.a_b.hostname",
        "the VM's name 'a_b' is no host name: its labels are letters, digits and inner hyphens",
        "set hostname",
    ),
    bad(
        "a host name with a label of 64 characters",
        WEB + LONG_LABEL,
        4,
        "vm.web.hostname",
        f"'{'a' * 60}…' is no host name: one of its labels is longer than 63 characters",
    ),
    bad(
        "a host name of 254 characters",
        WEB + LONG_HOSTNAME,
        4,
        "vm.web.hostname",
        f"'{'a' * 50}.{'a' * 9}…' is 254 characters long: a host name has at most 253",
    ),
    bad(
        "a host name with an empty label",
        WEB + 'hostname = "a..b"',
        4,
        "vm.web.hostname",
        "'a..b' is no host name: one of its labels is empty",
    ),
    bad(
        "an empty host name",
        WEB + 'hostname = ""',
        4,
        "vm.web.hostname",
        "'' is no host name: one of its labels is empty",
    ),
    bad(
        "a host name that begins with a hyphen",
        WEB + 'hostname = "-a"',
        4,
        "vm.web.hostname",
        "'-a' is no host name: its labels are letters, digits and inner hyphens",
    ),
    bad(
        "a relative guest path",
        WEB
        + """\
[[vm.web.file]]
guest = "etc/x"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "'etc/x' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "a guest path in another's home directory",
        WEB
        + """\
[[vm.web.file]]
guest = "~nobody/x"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "'~nobody/x' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "a guest path with ..",
        WEB
        + """\
[[vm.web.file]]
guest = "/etc/../x"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "'/etc/../x' is no guest path: '..' is not allowed in it",
    ),
    bad(
        "a guest path with .",
        WEB
        + """\
[[vm.web.file]]
guest = "/./x"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "'/./x' is no guest path: '.' is not allowed in it",
    ),
    bad(
        "a guest path with an empty component",
        WEB
        + """\
[[vm.web.file]]
guest = "/etc//x"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "'/etc//x' is no guest path: one of its components is empty",
    ),
    bad(
        "a guest path with a slash at its end",
        WEB
        + """\
[[vm.web.file]]
guest = "/etc/"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "'/etc/' is no guest path: one of its components is empty",
    ),
    bad(
        "a guest path with a NUL",
        WEB + '[[vm.web.file]]\nguest = "/a\\u0000b"\ncontent = ""',
        5,
        "vm.web.file[0].guest",
        "'/a\\x00b' is no guest path: it holds a NUL",
    ),
    bad(
        "the guest's root directory itself",
        WEB
        + """\
[[vm.web.file]]
guest = "/"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "'/' is the guest's root directory itself",
        "name a file or directory in it",
    ),
    bad(
        "a guest path with a component of 256 bytes",
        WEB + LONG_COMPONENT,
        4,
        "vm.web.file[0].guest",
        f"'/{'é' * 59}…' is no guest path: one of its components is longer than 255 bytes",
    ),
    bad(
        "a guest path under /run",
        WEB
        + """\
[[vm.web.file]]
guest = "/run/x"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "guest path '/run/x' is under the tmpfs on '/run'",
        "the guest would never see it: put it elsewhere",
    ),
    bad(
        "the guest path /tmp",
        WEB
        + """\
[[vm.web.file]]
guest = "/tmp"
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "guest path '/tmp' is under the tmpfs on '/tmp'",
        "the guest would never see it: put it elsewhere",
    ),
    bad(
        "a guest path of nothing",
        WEB
        + """\
[[vm.web.file]]
guest = ""
content = ""
""",
        5,
        "vm.web.file[0].guest",
        "guest is '': give a path inside the guest, such as \"/etc/app.conf\"",
    ),
    bad(
        "a guest path under a declared tmpfs",
        WEB
        + """\
[[vm.web.file_sync]]
host = "tree"
guest = "/scratch/a"
[[vm.web.mount]]
source = "tmpfs"
target = "/scratch"
fstype = "tmpfs"
""",
        6,
        "vm.web.file_sync[0].guest",
        "guest path '/scratch/a' is under the tmpfs on '/scratch'",
        "the guest would never see it: put it elsewhere",
    ),
    bad(
        "one guest path for a file and a synced tree",
        WEB
        + """\
[[vm.web.file]]
guest = "~/a"
content = ""
[[vm.web.file_sync]]
host = "tree"
guest = "/root/a"
""",
        9,
        "vm.web.file_sync[0].guest",
        "guest path '/root/a' is given twice, first in vm.web.file[0] (vm.toml:4)",
    ),
    bad(
        "one guest path at the top and in the defaults",
        """\
[[file]]
guest = "/a"
content = ""
[[defaults.file]]
guest = "/a"
content = ""
""",
        5,
        "defaults.file[0].guest",
        "guest path '/a' is given twice, first in file[0] (vm.toml:1)",
    ),
    bad(
        "one mount target twice",
        WEB
        + """\
[[vm.web.mount]]
source = "a"
target = "/m"
fstype = "x"
[[vm.web.mount]]
source = "b"
target = "/m"
fstype = "x"
""",
        10,
        "vm.web.mount[1].target",
        "mount target '/m' is given twice, first in vm.web.mount[0] (vm.toml:4)",
    ),
    bad(
        "a relative mount target",
        WEB
        + """\
[[vm.web.mount]]
source = "a"
target = "m"
fstype = "x"
""",
        6,
        "vm.web.mount[0].target",
        "'m' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "a mount target with a line break",
        WEB + '[[vm.web.mount]]\nsource = "a"\ntarget = "/a\\nb"\nfstype = "x"',
        6,
        "vm.web.mount[0].target",
        "'/a\\nb' is no mount target: a line of fstab can't hold a line break",
    ),
    bad(
        "a synced path that is not there",
        WEB
        + """\
[[vm.web.file_sync]]
host = "gone"
guest = "/a"
""",
        5,
        "vm.web.file_sync[0].host",
        "'gone' is not there ({cwd}/gone)",
        "paths are relative to the manifest file they stand in",
    ),
    bad(
        "a synced fifo",
        WEB
        + """\
[[vm.web.file_sync]]
host = "fifo"
guest = "/a"
""",
        5,
        "vm.web.file_sync[0].host",
        "'fifo' is a fifo: give a file or a directory",
    ),
    bad(
        "an exclude pattern that is none",
        WEB
        + """\
[[vm.web.file_sync]]
host = "tree"
guest = "/a"
exclude = ["!"]
""",
        7,
        "vm.web.file_sync[0].exclude",
        "'!' is no gitignore pattern",
    ),
    bad(
        "a group id over 32 bits",
        WEB
        + """\
[[vm.web.file]]
guest = "/a"
content = ""
owner = "root:4294967295"
""",
        7,
        "vm.web.file[0].owner",
        "owner is 'root:4294967295': 4294967295 is no user or group id (at most 4294967294)",
    ),
    bad(
        "a relative target to drop",
        WEB + 'drop_mounts = ["home"]',
        4,
        "vm.web.drop_mounts[0]",
        "'home' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "a relative guest path at the top",
        """\
[[file]]
guest = "a"
content = ""
""",
        2,
        "file[0].guest",
        "'a' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "an address without a prefix length",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.1"
""",
        5,
        "vm.web.network.address",
        "address is '10.0.0.1', without a prefix length",
        "such as 10.0.0.1/24",
    ),
    bad(
        "an IPv6 address",
        WEB
        + """\
[vm.web.network]
address = "fe80::1/64"
""",
        5,
        "vm.web.network.address",
        "'fe80::1' is an IPv6 address: only IPv4 is supported",
    ),
    bad(
        "an address with a byte over 255",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.256/24"
""",
        5,
        "vm.web.network.address",
        "'10.0.0.256' is no IPv4 address",
    ),
    bad(
        "an address with a netmask",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.1/255.0.0.0"
""",
        5,
        "vm.web.network.address",
        "address is '10.0.0.1/255.0.0.0': its prefix length is none of 0 to 32",
    ),
    bad(
        "a prefix length of 33",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.1/33"
""",
        5,
        "vm.web.network.address",
        "address is '10.0.0.1/33': its prefix length is none of 0 to 32",
    ),
    bad(
        "a network's own address",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.0/24"
""",
        5,
        "vm.web.network.address",
        "address is '10.0.0.0/24', the network address of 10.0.0.0/24",
    ),
    bad(
        "a broadcast address",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.255/24"
""",
        5,
        "vm.web.network.address",
        "address is '10.0.0.255/24', the broadcast address of 10.0.0.0/24",
    ),
    bad(
        "a loopback address",
        WEB
        + """\
[vm.web.network]
address = "127.0.0.1/8"
""",
        5,
        "vm.web.network.address",
        "address is '127.0.0.1/8', which is no address for a host",
    ),
    bad(
        "a gateway in another network",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.2/24"
gateway = "10.0.1.1"
""",
        6,
        "vm.web.network.gateway",
        "gateway is '10.0.1.1', which is not in the address's network 10.0.0.0/24",
    ),
    bad(
        "the VM itself as its gateway",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.2/24"
gateway = "10.0.0.2"
""",
        6,
        "vm.web.network.gateway",
        "gateway is '10.0.0.2', the VM's own address",
    ),
    bad(
        "a broadcast address as gateway",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.2/24"
gateway = "10.0.0.255"
""",
        6,
        "vm.web.network.gateway",
        "gateway is '10.0.0.255', the broadcast address of 10.0.0.0/24",
    ),
    bad(
        "an IPv6 gateway",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.2/24"
gateway = "::1"
""",
        6,
        "vm.web.network.gateway",
        "'::1' is an IPv6 address: only IPv4 is supported",
    ),
    bad(
        "a gateway without an address",
        WEB
        + """\
[vm.web.network]
gateway = "10.0.0.1"
""",
        5,
        "vm.web.network.gateway",
        "gateway is '10.0.0.1', but there is no address",
        "give network.address",
    ),
    bad(
        "a DNS server by name",
        WEB
        + """\
[vm.web.network]
dns = ["1.1.1.1", "one"]
""",
        5,
        "vm.web.network.dns[1]",
        "'one' is no IPv4 address",
    ),
    bad(
        "an IPv6 DNS server",
        WEB
        + """\
[vm.web.network]
dns = ["::1"]
""",
        5,
        "vm.web.network.dns[0]",
        "'::1' is an IPv6 address: only IPv4 is supported",
    ),
    bad(
        "bootstrap mode without an address",
        WEB
        + """\
[vm.web.network]
mode = "bootstrap"
""",
        5,
        "vm.web.network.mode",
        "mode is 'bootstrap', but there is no address",
        "give network.address",
    ),
    bad(
        "cmdline mode without an address",
        WEB
        + """\
[vm.web.network]
mode = "cmdline"
""",
        5,
        "vm.web.network.mode",
        "mode is 'cmdline', but there is no address",
        "give network.address",
    ),
    bad(
        "a multicast MAC address",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.2/24"
mac = "01:00:00:00:00:01"
""",
        6,
        "vm.web.network.mac",
        "mac is '01:00:00:00:00:01', a multicast address",
        "make the first byte even, such as 06",
    ),
    bad(
        "a MAC address of zeros",
        WEB
        + """\
[vm.web.network]
address = "10.0.0.2/24"
mac = "00:00:00:00:00:00"
""",
        6,
        "vm.web.network.mac",
        "mac is '00:00:00:00:00:00', which is no address for an interface",
    ),
    bad(
        "a VM name too long for a tap device",
        IMAGE
        + """\
[vm.a-long-vm-name]
image = "debian"
network.address = "10.0.0.2/24"
""",
        4,
        "vm.a-long-vm-name.network.tap",
        "tap is 'tap-a-long-vm-name', 18 bytes long: the name of a device has at most 15",
        "set network.tap",
    ),
    bad(
        "two VMs with one address",
        IMAGE
        + """\
[defaults]
image = "debian"
[vm.a.network]
address = "10.0.0.2/24"
[vm.b.network]
address = "10.0.0.2/16"
""",
        7,
        "vm.b.network.address",
        "more than one VM has the address '10.0.0.2': vm.a, vm.b",
    ),
    bad(
        "two VMs with one MAC address",
        IMAGE
        + """\
[defaults]
image = "debian"
[vm.a.network]
address = "10.0.0.2/24"
[vm.b.network]
mac = "06:00:0A:00:00:02"
""",
        7,
        "vm.b.network.mac",
        "more than one VM has the MAC address '06:00:0a:00:00:02': vm.a, vm.b",
    ),
    bad(
        "two VMs with one tap device",
        IMAGE
        + """\
[defaults]
image = "debian"
[vm.a.network]
address = "10.0.0.2/24"
[vm.b.network]
tap = "tap-a"
""",
        7,
        "vm.b.network.tap",
        "more than one VM has the tap device 'tap-a': vm.a, vm.b",
    ),
    bad(
        "two VMs with one host name",
        IMAGE
        + """\
[defaults]
image = "debian"
[vm.a]
hostname = "B"
[vm.b]
""",
        5,
        "vm.a.hostname",
        "more than one VM has the host name 'b': vm.a, vm.b",
    ),
    bad(
        "five VMs with one host name",
        IMAGE
        + """\
[defaults]
image = "debian"
hostname = "x"
[vm.v0]
[vm.v1]
[vm.v2]
[vm.v3]
[vm.v4]
""",
        4,
        "defaults.hostname",
        "more than one VM has the host name 'x': vm.v0, vm.v1, vm.v2 and 2 more",
    ),
    bad(
        "a private key file",
        WEB + 'ssh_authorized_keys = ["id"]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "'id' is a private key, and the guest must never have it",
        "use id.pub",
    ),
    bad(
        "a literal private key",
        WEB + 'ssh_authorized_keys = ["""-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END"""]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "this is a private key, and the guest must never have it",
        "give the public one",
    ),
    bad(
        "a private key of PuTTY",
        WEB + 'ssh_authorized_keys = ["id.ppk"]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "'id.ppk' is a private key, and the guest must never have it",
        "export the public key with PuTTYgen",
    ),
    bad(
        "a key file with another line",
        WEB + 'ssh_authorized_keys = ["no.pub"]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "line 2 of 'no.pub' is no public key",
    ),
    bad(
        "a directory as a key file",
        WEB + 'ssh_authorized_keys = ["tree"]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "'tree' is a directory: give a file",
    ),
    bad(
        "a key file that is not there",
        WEB + 'ssh_authorized_keys = ["gone.pub"]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "'gone.pub' is not there ({cwd}/gone.pub)",
        "paths are relative to the manifest file they stand in",
    ),
    bad(
        "empty key file",
        WEB + 'ssh_authorized_keys = ["empty.pub"]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "'empty.pub' holds no public key",
    ),
    bad(
        "a key file that is no text",
        WEB + 'ssh_authorized_keys = ["binary.pub"]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "'binary.pub' holds no public key: it is not text",
    ),
    bad(
        "a literal key with an ellipsis",
        WEB + 'ssh_authorized_keys = ["ssh-ed25519 AAAA… me"]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "'ssh-ed25519 AAAA… me' is no public key",
        'one looks like "ssh-ed25519 AAAA… you@host"',
    ),
    bad(
        "two literal keys in one entry",
        WEB + 'ssh_authorized_keys = ["""ssh-rsa AAAAB3NzaC1yc2E=\nssh-rsa AAAAB3NzaC1yc2E="""]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "a literal key is one line",
        "give each key an entry of its own",
    ),
    bad(
        "a blank key",
        WEB + 'ssh_authorized_keys = [" "]',
        4,
        "vm.web.ssh_authorized_keys[0]",
        "' ' is no public key",
        'one looks like "ssh-ed25519 AAAA… you@host"',
    ),
    bad(
        "a missing key file in the defaults of two VMs",
        IMAGE
        + """\
[defaults]
image = "debian"
ssh_authorized_keys = ["gone.pub"]
[vm.a]
[vm.b]
""",
        4,
        "defaults.ssh_authorized_keys[0]",
        "'gone.pub' is not there ({cwd}/gone.pub)",
        "paths are relative to the manifest file they stand in",
    ),
    bad(
        "a container image without a transport",
        '[image.a.rootfs]\noci = "debian:12"',
        2,
        "image.a.rootfs.oci",
        'oci is \'debian:12\': give "oci:LAYOUT:TAG", "docker://REGISTRY/NAME:TAG", "oci-archive:FILE" or '
        '"docker-archive:FILE"',
    ),
    bad(
        "a container image whose name is none",
        '[image.a.rootfs]\noci = "docker://localhost/Debian"',
        2,
        "image.a.rootfs.oci",
        "'docker://localhost/Debian' names no image: its part 'Debian' is no name",
        "names are lower-case letters and digits, with '.', '_' or '-' between them",
    ),
    bad(
        "a container image with a tag that is none",
        '[image.a.rootfs]\noci = "docker://debian:-"',
        2,
        "image.a.rootfs.oci",
        "'docker://debian:-' has a tag that is none: '-'",
        "a tag has letters, digits, '_', '.' and '-'",
    ),
    bad(
        "a layout that is not there",
        '[image.a.rootfs]\noci = "oci:gone:tag"',
        2,
        "image.a.rootfs.oci",
        "'gone' is not there ({cwd}/gone)",
        "paths are relative to the manifest file they stand in",
    ),
    bad(
        "a layout that is a file",
        '[image.a.rootfs]\noci = "oci:root.tar"',
        2,
        "image.a.rootfs.oci",
        "'root.tar' is a file: give a directory",
    ),
    bad(
        "an archive of a container image that is a directory",
        '[image.a.rootfs]\noci = "oci-archive:tree:tag"',
        2,
        "image.a.rootfs.oci",
        "'tree' is a directory: give a file",
    ),
    bad(
        "a platform without an architecture",
        '[image.a.rootfs]\noci = "docker://debian"\nplatform = "linux"',
        3,
        "image.a.rootfs.platform",
        "platform is 'linux': give a platform such as \"linux/amd64\"",
    ),
    bad(
        "a platform of what is no container image",
        IMAGE + 'image.debian.rootfs.platform = "linux/amd64"',
        2,
        "image.debian.rootfs.platform",
        "'platform' goes with 'oci' only, not with 'tar'",
    ),
    bad(
        "an entry point of what is no container image",
        IMAGE + 'image.debian.rootfs.entrypoint = "/init"',
        2,
        "image.debian.rootfs.entrypoint",
        "'entrypoint' goes with 'oci' only, not with 'tar'",
    ),
    bad(
        "an entry point of a seed",
        IMAGE + 'image.debian.work_seed = { oci = "docker://x", entrypoint = "/init" }',
        2,
        "image.debian.work_seed.entrypoint",
        "'entrypoint' goes with a rootfs only: a work disk runs nothing",
    ),
    bad(
        "an entry point that is no guest path",
        '[image.a.rootfs]\noci = "docker://x"\nentrypoint = "init"',
        3,
        "image.a.rootfs.entrypoint",
        "'init' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "a limit to what does not unpack",
        '[image.a.rootfs]\ndirectory = "tree"\nmax_size = "1G"',
        3,
        "image.a.rootfs.max_size",
        "'max_size' goes with 'tar' or 'oci' or 'url' or 'mmdebstrap' only, not with 'directory'",
    ),
    bad(
        "a limit that is no size",
        IMAGE + 'image.debian.rootfs.max_size = "much"',
        2,
        "image.debian.rootfs.max_size",
        "max_size is 'much': give a number of bytes or a size such as \"2GiB\"",
    ),
    bad(
        "an address without a scheme",
        '[image.a.rootfs]\nurl = "example.org/x.tar"',
        2,
        "image.a.rootfs.url",
        "url is 'example.org/x.tar': give an address such as \"https://…\"",
    ),
    bad(
        "an address of a file that is relative",
        '[image.a.rootfs]\nurl = "file://x.tar"',
        2,
        "image.a.rootfs.url",
        "url is 'file://x.tar': give an address such as \"https://…\"",
    ),
    bad(
        "a digest with a digit too few",
        f'[image.a.rootfs]\nurl = "https://x/y"\nsha256 = "{"0" * 63}"',
        3,
        "image.a.rootfs.sha256",
        f"sha256 is {'0' * 60 + '…'!r}: give 64 hexadecimal digits",
    ),
    bad(
        "packages without a suite",
        '[image.a.rootfs]\nmmdebstrap = { packages = ["ssh"] }',
        2,
        "image.a.rootfs.mmdebstrap",
        "'suite' is missing",
    ),
    bad(
        "a suite that would be an option",
        '[image.a.rootfs]\nmmdebstrap = { suite = "--help" }',
        2,
        "image.a.rootfs.mmdebstrap.suite",
        "'--help' begins with '-', which mmdebstrap takes for an option",
    ),
    bad(
        "a mirror that would be an option",
        '[image.a.rootfs]\nmmdebstrap = { suite = "bookworm", mirror = "-" }',
        2,
        "image.a.rootfs.mmdebstrap.mirror",
        "'-' begins with '-', which mmdebstrap takes for an option",
    ),
    bad(
        "two packages in one",
        '[image.a.rootfs]\nmmdebstrap = { suite = "bookworm", packages = ["ssh", "vim,nano"] }',
        2,
        "image.a.rootfs.mmdebstrap.packages[1]",
        "'vim,nano' names no package",
        "give each package an entry of its own",
    ),
    bad(
        "an argument that is no option",
        '[image.a.rootfs]\nmmdebstrap = { suite = "bookworm", arguments = ["-v"] }',
        2,
        "image.a.rootfs.mmdebstrap.arguments[0]",
        "'-v' is no option of mmdebstrap",
        "write it as one word: --NAME=VALUE",
    ),
    bad(
        "an image from one that is not there",
        IMAGE + 'image.a.rootfs.image = "debain"',
        2,
        "image.a.rootfs.image",
        "unknown image 'debain'",
        "did you mean 'debian'?",
    ),
    bad(
        "an image from itself",
        '[image.a]\nrootfs.image = "a"',
        2,
        "image.a.rootfs.image",
        "images start from one another in a circle: a -> a",
    ),
    bad(
        "images in a circle",
        """\
[image.b]
rootfs.image = "a"
[image.a]
rootfs.image = "c"
[image.c]
rootfs.image = "b"
""",
        4,
        "image.a.rootfs.image",
        "images start from one another in a circle: a -> c -> b -> a",
    ),
    bad(
        "a seed from an image without one",
        IMAGE + '[image.a]\nrootfs.image = "debian"\nwork_seed.image = "debian"',
        4,
        "image.a.work_seed.image",
        "image 'debian' has no work_seed",
        "give it one, or leave work_seed out",
    ),
    bad(
        "a file of an image that is no guest path",
        IMAGE + 'image.debian.file = [{ guest = "etc/motd", content = "" }]',
        2,
        "image.debian.file[0].guest",
        "'etc/motd' is no guest path",
        "a guest path begins with / or ~/",
    ),
    bad(
        "a file of an image twice",
        IMAGE
        + """\
[[image.debian.file]]
guest = "/a"
content = ""
[[image.debian.file_sync]]
guest = "/a"
host = "tree"
""",
        6,
        "image.debian.file_sync[0].guest",
        "guest path '/a' is given twice, first in image.debian.file[0] (vm.toml:2)",
    ),
    bad(
        "a copied file of an image that is not there",
        IMAGE + 'image.debian.file_sync = [{ guest = "/a", host = "gone" }]',
        2,
        "image.debian.file_sync[0].host",
        "'gone' is not there ({cwd}/gone)",
        "paths are relative to the manifest file they stand in",
    ),
    bad(
        "a digest of what is no download",
        """\
[image.a.rootfs]
tar = "root.tar"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
""",
        3,
        "image.a.rootfs.sha256",
        "'sha256' goes with 'url' only, not with 'tar'",
    ),
    bad(
        "a key without a value",
        """\
a = 1
b =
""",
        2,
        "",
        "not valid TOML: invalid value at column 4",
    ),
    bad(
        "a string without an end",
        'a = "',
        1,
        "",
        "not valid TOML: unterminated string at the end of the file",
    ),
    bad(
        "a table declared twice",
        """\
[a]
[a]
""",
        2,
        "",
        "not valid TOML: cannot declare ('a',) twice at column 3",
    ),
    bad(
        "an include that is not there",
        'include = ["gone.toml"]',
        1,
        "include[0]",
        "can't include 'gone.toml': no such file or directory",
    ),
    bad(
        "an include of a directory",
        'include = ["tree"]',
        1,
        "include[0]",
        "can't include 'tree': is a directory",
    ),
    bad(
        "an include from an unknown user's home",
        'include = ["~nobody-here/x"]',
        1,
        "include[0]",
        "can't include '~nobody-here/x': no such file or directory",
    ),
    bad(
        "an include of the file itself",
        'include = ["vm.toml"]',
        1,
        "include[0]",
        "include cycle: vm.toml -> vm.toml",
        "let one of them go; a file is read once however often it is included",
    ),
    bad(
        "an include with a NUL",
        'include = ["a\\u0000b"]',
        1,
        "include[0]",
        "include[0] is 'a\\x00b': give a path on the host",
    ),
    bad(
        "a store path that is a number",
        "store.path = 5",
        1,
        "store.path",
        "path is 5: give a path on the host",
    ),
    bad(
        "a store in an unknown user's home",
        'store.path = "~nobody-here/x"',
        1,
        "store.path",
        "'~nobody-here/x' starts with the home directory of an unknown user",
    ),
]
