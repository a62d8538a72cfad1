"""`up.sh` and `down.sh`: a network's bridge, tap devices and NAT, set up and taken down by root.

What is ours is told by the devices' group. What sysctls were before is kept in the alias of the bridge: there
it is gone after a restart of the host, as the rest is, and is known in each network namespace by itself.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from bangerbuild.launch import shell
from bangerbuild.launch.attach import BEGINNING, ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.bridging.bridge import Bridge

UP_COMMENT = """\
Sets up the network {network} on this host: the bridge {device} with the address {address}, and
the VMs' tap devices on it, which belong to the user who owns this directory{nat}.
Needs root. Looks first whether anything is in the way, and then changes nothing at all. What is
there already stays as it is, so it may be run again at any time. The tap devices that it made for
VMs which are declared no more go, unless such a VM still runs. down.sh takes all of it down.
"""

DOWN_COMMENT = """\
Takes down what up.sh sets up for the network {network}, and leaves the host as it was before.
Needs root. Does nothing where nothing is set up.
"""

PROGRAM = """\
command -v {program} >/dev/null || fail "there is no {program} here: it comes with {package}"
"""
IP = PROGRAM.format(program="ip", package="iproute2")
NFT = PROGRAM.format(program="nft", package="nftables")
FLOCK = PROGRAM.format(program="flock", package="util-linux")

LOCK = """\
# One run at a time: the lock is on this directory, and ends with the run. up.sh calls down.sh with it.
if [ -z "${BANGERBUILD_LOCKED-}" ]; then
    exec 9<.
    flock -n 9 || {
        echo "${0##*/}: waits for another run" >&2
        flock 9
    }
fi
"""

FUNCTIONS = """\
# The names of the devices that `ip link show` lists for these words, each between two spaces.
devices() {
    ip -o link show "$@" | sed 's/^[0-9]*: \\([^:@]*\\).*/ \\1 /' | tr -d '\\n'
}

# What sysctls were before, as the aliases of bridges that are listed for these words have it.
saved() {
    ip -o link show "$@" type bridge 2>/dev/null | sed -n 's/.*\\\\ *alias bangerbuild:[^ ]* //p'
}
"""

DROP_NAT = """\
# Removes the NAT. Sysctls are put back by the last network that needs them.
drop_nat() {
    if command -v nft >/dev/null && nft list table inet "$table" >/dev/null 2>&1; then
        nft delete table inet "$table"
    fi
    before=$(saved dev "$bridge")
    [ -n "$before" ] || return 0
    ip link set dev "$bridge" alias "bangerbuild:$network"
    [ -z "$(saved)" ] || return 0
    for word in $before; do
        if [ -e "/proc/sys/net/ipv4/${word%%=*}" ]; then
            echo "${word#*=}" >"/proc/sys/net/ipv4/${word%%=*}"
        fi
    done
}
"""

LOOK = """\
all=$(devices)
ours=$(devices group "$group")
"""

CHECKS = """\
owner=$(stat -c %u .)
[ -c /dev/net/tun ] || fail "there is no /dev/net/tun: modprobe tun"

is_new=yes
case $ours in
*" $bridge "*) is_new= ;;
*)
    case $all in
    *" $bridge "*)
        fail "there is a device $bridge already, which was not made for the network $network:" \\
            "name another bridge in the manifest, or remove that one"
        ;;
    esac
    ;;
esac

owned=$(ip tuntap show | sed -n "s/^\\\\([^:]*\\\\): .* user $owner\\\\( .*\\\\)*\\$/ \\\\1 /p" | tr -d '\\n')
for tap in $taps; do
    case $ours in
    *" $tap "*)
        case $owned in
        *" $tap "*) ;;
        *) fail "$tap does not belong to the user $owner: run down.sh first" ;;
        esac
        ;;
    *)
        case $all in
        *" $tap "*)
            fail "there is a device $tap already, which was not made for the network $network:" \\
                "name another network.tap in the manifest, or remove it: ip link delete $tap"
            ;;
        esac
        ;;
    esac
done

in_use=$(ip -o -4 address show to "$subnet" | while read -r _ device _ found _; do
    [ "$device" = "$bridge" ] || echo "${found%/*} is an address of $device"
done)
[ -z "$in_use" ] || fail "the subnet $subnet is in use:" "$in_use"

# The default route and others that are wider may lead on past a gateway: this subnet is then an exception.
in_use=$({
    ip -o -4 route show root "$subnet"
    ip -o -4 route show match "$subnet" | grep 'scope link' || :
} | while read -r route; do
    case "$route " in
    *" dev $bridge "*) ;;
    *) echo "there is a route $route" ;;
    esac
done | sort -u)
[ -z "$in_use" ] || fail "the subnet $subnet is in use:" "$in_use"
"""

NAT_CHECKS = """\
nft -c -f nat.nft || fail "nft does not take nat.nft"

# Forwarding changes more than its own sysctl: this is what does not come back with it.
before=$(saved | head -n 1)
if [ -z "$before" ] && [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 0 ]; then
    before=$(
        cd /proc/sys/net/ipv4
        {
            echo ip_forward=0
            grep -Lx 1 conf/all/accept_redirects | sed 's/$/=0/'
            grep -lx 1 conf/*/forwarding | sed 's/$/=1/'
        } | tr '\\n' ' '
    )
fi
"""

CHANGES = """\
undo() {
    if [ "$?" -ne 0 ] && [ -n "$is_new" ]; then
        echo "up.sh: taking down what was set up so far" >&2
        BANGERBUILD_LOCKED=yes sh ./down.sh || :
    fi
}
trap undo EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "$is_new" ]; then
    ip link add name "$bridge" group "$group" address "$mac" type bridge forward_delay 0 stp_state 0
    ip link set dev "$bridge" alias "bangerbuild:$network"
fi
case $(ip -o -4 address show dev "$bridge") in
*" inet $address "*) ;;
*)
    ip -4 address flush dev "$bridge" scope global
    ip address add "$address" dev "$bridge"
    ;;
esac
[ -n "$(devices dev "$bridge" up)" ] || ip link set dev "$bridge" up

ready=$(devices master "$bridge" group "$group" up)
for tap in $taps; do
    case $ready in
    *" $tap "*) continue ;;
    esac
    case $ours in
    *" $tap "*) ;;
    *) echo "tuntap add dev $tap mode tap user $owner" ;;
    esac
    echo "link set dev $tap group $group master $bridge up"
done | ip -batch - || fail "not all tap devices can be set up"

# What was made here for VMs that are declared no more. A device that a VM has open has a carrier.
open=$(ip -o link show group "$group" | sed -n '/LOWER_UP/s/^[0-9]*: \\([^:@]*\\).*/ \\1 /p' | tr -d '\\n')
declared=$(echo "$taps" | tr '\\n' ' ')
for tap in $ours; do
    case "$declared $bridge " in
    *" $tap "*) continue ;;
    esac
    case $owned in
    *" $tap "*) ;;
    *) continue ;;
    esac
    case $open in
    *" $tap "*) echo "up.sh: $tap stays, as the VM that it was made for still runs" >&2 ;;
    *) echo "link delete dev $tap" ;;
    esac
done | ip -batch - || fail "not all tap devices can be removed"
"""

NAT = """\
if [ -n "$before" ] && [ -z "$(saved dev "$bridge")" ]; then
    ip link set dev "$bridge" alias "bangerbuild:$network $before"
fi
[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] || echo 1 >/proc/sys/net/ipv4/ip_forward
if [ "$(nft list table inet "$table" 2>/dev/null)" != "$(sed -n '/^table .* {$/,$p' nat.nft)" ]; then
    nft -f nat.nft
fi
"""

NO_NAT = """\
drop_nat
"""

DONE = """\
echo "The network $network is up: $bridge has the address $address."
"""

DOWN = """\
case $all in
*" $bridge "*)
    case $ours in
    *" $bridge "*) ;;
    *) fail "$bridge was not made for the network $network: nothing is taken down" ;;
    esac
    ;;
esac
drop_nat
[ -z "$ours" ] || ip link delete group "$group"
echo "The network $network is down."
"""


def up(bridge: Bridge) -> str:
    """The text of up.sh."""
    nat = ", and NAT to the outside" if bridge.nat else ""
    comment = UP_COMMENT.format(network=bridge.network, device=bridge.device, address=bridge.address, nat=nat)
    programs, parts = IP + FLOCK, (CHECKS, CHANGES, DROP_NAT, NO_NAT, DONE)
    if bridge.nat:
        programs, parts = IP + FLOCK + NFT, (CHECKS, NAT_CHECKS, CHANGES, NAT, DONE)
    values = {"address": bridge.address, "subnet": bridge.subnet, "mac": bridge.mac}
    taps = "taps='{}'\n".format("".join(f"\n{tap}" for tap in bridge.taps))
    return _script(bridge, comment, _assigned(values) + taps, programs, *parts)


def down(bridge: Bridge) -> str:
    """The text of down.sh."""
    comment = DOWN_COMMENT.format(network=bridge.network)
    return _script(bridge, comment, "", IP + FLOCK + (NFT if bridge.nat else ""), DROP_NAT, DOWN)


def _script(bridge: Bridge, comment: str, values: str, programs: str, *body: str) -> str:
    names = {
        "network": bridge.network,
        "bridge": bridge.device,
        "group": str(bridge.group),
        "table": bridge.table,
    }
    beginning = _assigned(names) + values + BEGINNING
    return shell.head(comment) + "\n".join((beginning, FUNCTIONS, programs + ROOT + LOCK + LOOK, *body))


def _assigned(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={quote(value)}\n" for name, value in values.items())
