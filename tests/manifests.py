"""Manifests that several tests read."""

from __future__ import annotations

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBmJQdNVdGsPVVYvTLVVUTDoDiVIcTjOGYUFDSkvAnwA me@host"
"""A literal public key."""

MINIMAL = """\
[image.debian.rootfs]
tar = "root.tar"

[vm.web]
image = "debian"
"""

EVERYTHING = f"""\
include = ["images.toml"]

[store]
path = "build"

[cache]
pull = ["docker://registry.example/team/images"]
push = "docker://registry.example/team/images"
trust = true

[defaults]
vcpus = 2
memory = "1GiB"

[image.bookworm]
kernel = "vmlinuz"
initrd = {{ guest = "/boot/initrd.img-*" }}
cmdline = "console=ttyS0 reboot=k panic=1"
rootfs = {{ tar = "bookworm.tar.zst", size = "2GiB", max_size = "8GiB" }}
work_seed = {{ directory = "skel", size = "256MiB", owner = "keep" }}
[[image.bookworm.file]]
guest = "/etc/motd"
content = "hello"
[[image.bookworm.file_sync]]
host = "tree"
guest = "/opt/tree"

[image.a]
kernel = {{ url = "https://example.org/vmlinuz", sha256 = "{"0" * 64}" }}
rootfs = {{ ext4 = "disk.ext4", overlay_init = true }}
[image.b]
rootfs = {{ oci = "docker://registry.example/name:tag", platform = "linux/amd64", entrypoint = "/init" }}
[image.c]
rootfs = {{ url = "https://example.org/x.tar", sha256 = "{"aB" * 32}" }}
[image.d]
[image.d.rootfs.mmdebstrap]
suite = "bookworm"
packages = ["ssh"]
mirror = "https://deb.example"
arguments = ["--variant=minbase"]
[image.f]
rootfs = {{ disk_image = "disk.qcow2", partition = "LABEL=root" }}
[image.e]
rootfs = {{ image = "bookworm" }}
[image.g]
rootfs = {{ squashfs = "root.squashfs" }}
work_seed = {{ cpio = "seed.cpio" }}
[image.h.rootfs]
dockerfile = "tool"
file = "Dockerfile"
target = "run"
args = {{ A = "1" }}
builder = "buildah"

[vm.web]
image = "bookworm"
renamed_from = ["www"]
vcpus = 2
memory = 1073741824
hostname = "web"
ssh_authorized_keys = ["~/.ssh/id_ed25519.pub"]
drop_mounts = ["/home", "/var"]
keep_mounts = ["/boot/efi", "UUID=0a3407de"]

[vm.web.root]
format = "snapshot"
size = "8GiB"
on_new_base = "block"

[vm.web.work]
size = "16GiB"
mount = "/root"

[vm.web.guest]
hostname = true
hosts = true
resolv_conf = true
sshd = true
network = true
fstab = true
identity = true
cloud_init = "keep"

[vm.web.network]
name = "lan"
address = "172.16.0.10/24"
gateway = "172.16.0.1"
dns = ["1.1.1.1"]
mac = "06:00:ac:10:00:0a"
tap = "tap-web"
mode = "bootstrap"

[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
mode = "0644"
owner = "root:root"
times = "fixed"
[[vm.web.file]]
guest = "/etc/variable"
content = {{ env = "TOKEN" }}
[[vm.web.file]]
guest = "/etc/secret"
content = {{ file = "token" }}
[[vm.web.file]]
guest = "/etc/printed"
content = {{ command = ["pass", "show", "token"] }}

[[vm.web.file_sync]]
host = "~/.gitconfig"
guest = "~/.gitconfig"
mode = "0600"
directory_mode = "u=rwX,go=rX"
owner = "root:root"
times = "host"
exclude = ["*.pyc", ".git"]

[[vm.web.mount]]
source = "tmpfs"
target = "/scratch"
fstype = "tmpfs"
options = ["size=1g", "nodev"]
dump = 0
pass = 0

[[vm.web.disk]]
name = "data"
size = "10GiB"
mount = "/data"

[network.lan]
subnet = "172.16.0.0/24"
gateway = "172.16.0.1"
dns = ["1.1.1.1"]
reserve = ["172.16.0.1-172.16.0.9"]
bridge = "br-lan"
nat = true

[node.rack1-a]
vcpus = 32
memory = "120GiB"
disk = "2TiB"
labels = ["ssd"]

[node.rack1-b]

[vm.other]
image = "a"
work = false
node = "rack1-b"

[vm.placed]
image = "a"
work = false
placement = {{ labels = ["ssd"] }}

[vars]
domain = "lab.example"

[fleet.runner]
names = "runner-{{001..003}}"
[fleet.runner.vm]
image = "a"
[[fleet.runner.vm.file]]
guest = "/etc/runner"
host = "runner.j2"
template = true

[fleet.test]
matrix = {{ suite = ["bookworm", "trixie"], size = [1, 2] }}
exclude = [{{ suite = "trixie", size = 1 }}]
name = "t-{{{{ suite }}}}-{{{{ size }}}}"
vm.image = "a"
"""
"""Every key of the language, each at least once; much of it stands for files that are not there."""
