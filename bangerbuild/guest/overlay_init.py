"""The init that joins a VM's image with the disk that takes its changes, and then starts the guest's own.

It is a POSIX shell script, and runs as process 1 on the image. The kernel's overlayfs joins the two:

    /dev/vda  the image, mounted read-only on /: the lower tree
    /dev/vdb  an ext4 with the directories `upper` and `work`, mounted below /run/initramfs: systemd leaves
              alone what is mounted there, and so the disk is clean after a shutdown

What goes wrong is said in one line on the console. Then process 1 ends: the kernel panics, and `panic=1` ends
the VM. Nothing goes on with the image alone, which would look like a guest that has lost its changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.tree import GuestDirectory, GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.guest.view import GuestView

PROGRAMS = ("mount", "mkdir", "cat", "sleep", "pivot_root")
"""What the script calls beside what its shell has."""
SEARCHED = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
SHELL = "/bin/sh"
MOUNT_POINTS = ("/proc", "/sys", "/dev", "/run")
_EXECUTABLE = 0o111
_HINT = (
    "put them into the image: util-linux has mount and pivot_root, busybox all of them; "
    "or leave overlay_init out, and take another root.format"
)

# The joined tree is mounted on /sys, as that is a directory which every image has, and not below /run, which
# moves into it. /proc stays until the last, because mount(8) reads it.
_SCRIPT = """\
#!/bin/sh
# Joins this read-only image with the disk that takes its changes, and starts the guest's own init on the two.
# Written by bangerbuild: overlay_init in [image.NAME.rootfs].
set -f
PATH={path}
disk=/dev/vdb
top=/run/initramfs/bangerbuild
wait_seconds=5

die() {{
    echo "bangerbuild-overlay-init: $*"
    sleep 1
    exit 1
}}

is_mounted() {{
    while read -r source point rest; do
        [ "$point" != "$1" ] || return 0
    done </proc/mounts
    return 1
}}

has_overlayfs() {{
    while read -r first second; do
        [ "${{second:-$first}}" != overlay ] || return 0
    done </proc/filesystems
    return 1
}}

[ $$ = 1 ] || die "this is process $$: it is for a machine to start with, as process 1"
[ -e /proc/mounts ] || mount -n -t proc proc /proc || die "can't mount /proc"
is_mounted /sys || mount -n -t sysfs sysfs /sys || die "can't mount /sys"
is_mounted /dev || mount -n -t devtmpfs devtmpfs /dev || die "can't mount /dev"
is_mounted /run || mount -n -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run || die "can't mount /run"

waited=0
while ! [ -b $disk ]; do
    [ $waited -lt $wait_seconds ] || die "there is no $disk, the disk with the changes to the image"
    sleep 1
    waited=$((waited + 1))
done
[ "$(cat /sys/class/block/${{disk#/dev/}}/ro)" = 0 ] || die "$disk is read-only: no changes can be written"
if command -v e2fsck >/dev/null 2>&1; then
    e2fsck -p $disk >/dev/null 2>&1
    [ $? -lt 4 ] || die "the filesystem on $disk has errors: on the host, e2fsck -f root.upper.ext4"
fi
mkdir -p /run/initramfs
mkdir -m 0700 $top
mkdir $top/disk $top/lower
mount -n -t ext4 -o ro $disk $top/disk 2>/dev/null || die "$disk can't be mounted: it is damaged, or no ext4"
[ -d $top/disk/upper ] && [ -d $top/disk/work ] || die "$disk is not the disk with the changes to the image"
errors=$(cat /sys/fs/ext4/${{disk#/dev/}}/errors_count 2>/dev/null)
[ "${{errors:-0}}" = 0 ] || die "the filesystem on $disk has errors: on the host, e2fsck -f root.upper.ext4"
mount -n -o remount,rw $disk $top/disk || die "$disk can't be mounted to be written"

has_overlayfs || modprobe overlay >/dev/null 2>&1
if ! has_overlayfs; then
    read -r release </proc/sys/kernel/osrelease
    die "kernel $release has no overlayfs, neither built in nor as a module of this image"
fi
trees=lowerdir=/,upperdir=$top/disk/upper,workdir=$top/disk/work
mount -n -t overlay -o $trees,{options} overlay /sys || die "can't join $disk with the image"

init=
for word in $(cat /proc/cmdline); do
    case $word in
    --) break ;;
    init=*/bangerbuild-overlay-init) ;;
    init=*) init=${{word#init=}} ;;
    esac
done

cd /sys || die "can't enter the joined tree"
for point in dev run proc; do
    mount -n -o move /$point $point || die "can't move /$point"
done
pivot_root . run/initramfs/bangerbuild/lower || die "can't make the joined tree the root"
cd /
mount -n -o move $top/lower/sys /sys || die "can't move /sys"

for program in ${{init:-/sbin/init /etc/init /bin/init /bin/sh}}; do
    [ ! -x "$program" ] || exec "$program" "$@" </dev/console >/dev/console 2>&1
done
die "there is no ${{init:-init}} that could be started"
"""
OPTIONS = "redirect_dir=off,metacopy=off,index=off"
"""So that nothing in the upper tree depends on more than names in the image."""


def edits(path: str, view: GuestView, written: str) -> GuestEdits:
    """The script and the mount points that it needs.

    Args:
        path: of the script.
        view: the image.
        written: the image's name in messages.

    Raises:
        SourceError: the image lacks a program that the script calls.
    """
    if lacking := tuple(_lacking(view)):
        names = ", ".join(f"'{name}'" for name in lacking)
        raise SourceError(f"'{written}' has no {names}, which overlay_init needs", hint=_HINT)
    points = tuple(GuestDirectory(point) for point in MOUNT_POINTS if not view.exists(point))
    return GuestEdits((*points, GuestFile(path, script().encode(), 0o755)))


def script() -> str:
    """The script's text."""
    return _SCRIPT.format(path=":".join(SEARCHED), options=OPTIONS)


def _lacking(view: GuestView) -> Iterator[str]:
    if not _is_program(view, SHELL):
        yield SHELL
    yield from (
        name
        for name in PROGRAMS
        if not any(_is_program(view, f"{directory}/{name}") for directory in SEARCHED)
    )


def _is_program(view: GuestView, path: str) -> bool:
    return bool((view.mode(path) or 0) & _EXECUTABLE)
