"""The device of a `snapshot` root, which the kernel makes: the parts of attach.sh and detach.sh.

    image  loop device, read-only ┐
                                  ├ snapshot ← root.dev
    store  loop device            ┘

The scripts know the device by what it stands on (sysfs), not by its name: the store may have been moved or
copied since. Before anything stands on a loop device, the script holds it open and tells it to end as soon as
nobody does: so it ends with the script or with the snapshot, whatever becomes of either (`loop_clr_fd` in
drivers/block/loop.c).
"""

from __future__ import annotations

from bangerbuild.disk.attachment import HostSetup
from bangerbuild.host.process import Program

PROGRAMS = tuple(
    Program(name, "attaches a snapshot root on the host")
    for name in ("losetup", "dmsetup", "blockdev", "flock")
)

FUNCTIONS = """\
# The loop devices, such as loop3, that stand on the file $1.
loops_on() {
    [ -n "$1" ] || return 0
    for backing in /sys/block/loop*/loop/backing_file; do
        case $(cat "$backing" 2>/dev/null) in
        "$1" | "$1 (deleted)")
            loop=${backing%/loop/backing_file}
            printf '%s\\n' "${loop##*/}"
            ;;
        esac
    done
}

# The names of the device-mapper devices that stand on @STORE@.
devices() {
    for loop in $(loops_on "$cow"); do
        for name in "/sys/block/$loop/holders"/*/dm/name; do
            if [ -e "$name" ]; then
                cat "$name"
            fi
        done
    done
}

# Ends the loop devices a killed attach.sh left: nothing stands on them, and they never end by themselves.
sweep() {
    for loop in $(loops_on "$cow") $(loops_on "$base"); do
        if [ "$(cat "/sys/block/$loop/loop/autoclear" 2>/dev/null)" = 0 ] &&
            [ -z "$(ls "/sys/block/$loop/holders" 2>/dev/null)" ]; then
            losetup -d "/dev/$loop" || :
        fi
    done
}

# Removes the device $1. Whoever looks at every new device, as udev does, is waited for.
remove() {
    tries=0
    until error=$(dmsetup remove "$1" 2>&1); do
        tries=$((tries + 1))
        if [ "$tries" -ge 3 ]; then
            printf '%s\\n' "$error" >&2
            fail "root.dev is in use: shut the VM down, or unmount it"
        fi
        sleep 1
    done
}

undo() {
    exec 8<&- 9<&-
    for name in $(devices); do
        remove "$name"
    done
    # Without a table it stands on nothing: dmsetup was killed while it made it.
    if [ -z "$(dmsetup table "$device" 2>/dev/null)" ]; then
        dmsetup remove "$device" 2>/dev/null || :
    fi
    sweep
    tries=0
    while loops=$(loops_on "$cow") && [ -n "$loops" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 5 ] || fail "@STORE@ is held by $loops"
        sleep 1
    done
    rm -f root.dev
}
"""

PREPARE = """\
[ -e /dev/loop-control ] || modprobe loop || fail "this kernel has no loop devices"

cow=$(readlink -f @STORE@)
base=$(readlink -f "$image") || base=
device=bangerbuild-$vm-$(pwd -P | sha256sum | cut -c 1-8)

# One at a time on this machine: two could take the same loop device, or each sweep the other's away.
exec 7</dev/loop-control
flock 7
"""

ATTACH = """\
# Puts the file $2 on a free loop device, with the option $1, and leaves the device's path in $loop.
put_on_loop() {
    tries=0
    error=
    until loop=$(losetup -f) && error=$(losetup ${1:+"$1"} "$loop" "$2" 2>&1); do
        tries=$((tries + 1))
        [ "$tries" -lt 10 ] || fail "no loop device for '$2': $error"
    done
}

# Makes root.dev of the device $1, for the owner of @STORE@ to use.
link() {
    chown "$(stat -L -c %u:%g @STORE@)" "/dev/mapper/$1"
    chmod 600 "/dev/mapper/$1"
    if [ "$(readlink root.dev)" != "/dev/mapper/$1" ]; then
        rm -f root.dev
        ln -s "/dev/mapper/$1" root.dev
    fi
}

attached=$(devices)
if [ -n "$attached" ] && [ -n "$(dmsetup table "$attached" 2>/dev/null)" ]; then
    link "$attached"
    exit
fi
undo
[ ! -e @STORE@.redo ] || fail "a change of @STORE@ was interrupted: run bangerbuild apply first"
[ -f "$base" ] || fail "the image '$image' is not there"
# The kernel takes what has no header for a new store, and would forget what is in it.
head -c 4 @STORE@ | grep -q '^SnAp' || fail "@STORE@ is no snapshot store"

trap undo EXIT
trap 'exit 1' HUP INT TERM
put_on_loop -r "$base"
exec 8<"$loop"
losetup -d "$loop" # when nobody has it open any more
base_loop=$loop
put_on_loop '' "$cow"
exec 9<"$loop"
losetup -d "$loop"
sectors=$(blockdev --getsz "$base_loop")
dmsetup create "$device" --table "0 $sectors snapshot $base_loop $loop P 8" ||
    fail "@STORE@ can't be attached; the kernel's log may tell why"
status=$(dmsetup status "$device")
case $status in
*Invalid* | *Overflow* | *failed*)
    fail "@STORE@ has become invalid: the store overflowed or failed, and its data is gone"
    ;;
esac
link "$device"
trap - EXIT
"""

DETACH = """\
undo
"""
# In these texts @STORE@ stands for the exception store's file name.


def setup(store: str, base: str) -> HostSetup:
    """What makes the device of a store.

    Args:
        store: its file name in the VM's directory.
        base: the image's path relative to that directory.
    """
    functions, prepare, attach, detach = (
        part.replace("@STORE@", store) for part in (FUNCTIONS, PREPARE, ATTACH, DETACH)
    )
    return HostSetup(
        needs_root=True,
        programs=PROGRAMS,
        packages=("util-linux", "dmsetup"),
        variables={"image": base},
        functions=functions,
        prepare=prepare,
        attach=attach,
        detach=detach,
    )
