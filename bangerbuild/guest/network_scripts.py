"""The text of the network script of a guest, and of the systemd unit and OpenRC script that start it."""

from __future__ import annotations

CONF_PATH = "/etc/bangerbuild/network.conf"
SCRIPT_PATH = "/usr/local/sbin/bangerbuild-network"
UNIT = "bangerbuild-network.service"
OPENRC_NAME = "bangerbuild-network"

# POSIX sh, with the ip command of iproute2 or busybox. It handles three problems: an interface may appear
# late (its driver is a module), udev may rename it after it was found (so a failed attempt is repeated), and
# tunnels and dummies must not be used as a fallback (so only interfaces with a device count).
SCRIPT = r"""#!/bin/sh
# Gives this machine the address in network.conf. May be run any number of times.
set -eu

CONF=${BANGERBUILD_NETWORK_CONF:-/etc/bangerbuild/network.conf}
SYS_CLASS_NET=${SYS_CLASS_NET:-/sys/class/net}
WAIT_SECONDS=${WAIT_SECONDS:-30}     # for the interface to come up
GRACE_SECONDS=${GRACE_SECONDS:-5}    # of these, how long to insist on its MAC address
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin

die() {
    echo "bangerbuild-network: $1" >&2
    exit 1
}

by_mac() {
    for directory in "$SYS_CLASS_NET"/*; do
        [ -r "$directory/address" ] || continue
        if [ "$(cat "$directory/address")" = "$MAC" ]; then
            echo "${directory##*/}"
            return 0
        fi
    done
    return 1
}

the_only_one() {
    found=
    for directory in "$SYS_CLASS_NET"/*; do
        [ -e "$directory/device" ] || continue
        [ -z "$found" ] || return 1
        found=${directory##*/}
    done
    [ -n "$found" ] && echo "$found"
}

find_interface() {
    by_mac && return 0
    [ "$tries" -ge "$((GRACE_SECONDS * tries_per_second))" ] && the_only_one
}

set_route() {
    [ -n "$GATEWAY" ] || return 0
    ip route replace default via "$GATEWAY" dev "$1" 2>/dev/null && return 0
    # A gateway outside the address's own network needs a route of its own.
    ip route replace "$GATEWAY/32" dev "$1" && ip route replace default via "$GATEWAY" dev "$1"
}

attempt() {
    interface=$(find_interface) || {
        echo "no interface with the address $MAC, nor a single one to take instead"
        return 1
    }
    ip link set dev lo up
    ip addr replace "$ADDRESS" dev "$interface" && ip link set dev "$interface" up && set_route "$interface"
}

[ -r "$CONF" ] || die "$CONF cannot be read"
. "$CONF"
command -v ip >/dev/null || die "the program 'ip' is missing: install iproute2 or busybox"

pause=0.2
tries_per_second=5
tries=0
until message=$(attempt 2>&1); do
    [ "$tries" -lt "$((WAIT_SECONDS * tries_per_second))" ] || die "$message"
    # Not every sleep knows fractions.
    sleep "$pause" 2>/dev/null || { pause=1; tries_per_second=1; sleep 1; }
    tries=$((tries + 1))
done
"""

# Early, like systemd-networkd: it needs only the local filesystems and the firewall.
# Before ssh.socket too, which may listen at this address alone.
UNIT_TEXT = f"""\
[Unit]
Description=Give this machine its network address
DefaultDependencies=no
ConditionPathExists={CONF_PATH}
Wants=network.target
After=local-fs.target network-pre.target systemd-sysctl.service systemd-udevd.service
Before=network.target network-online.target ssh.service sshd.service ssh.socket sshd.socket shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={SCRIPT_PATH}

[Install]
WantedBy=multi-user.target
"""

# `use` and not `need`: Debian's OpenRC mounts with other scripts, and there sshd is called ssh.
OPENRC_SCRIPT = f"""\
#!/sbin/openrc-run
description="Gives this machine its network address"

depend() {{
    use localmount
    after localmount bootmisc modules hwdrivers
    before sshd ssh
    provide net
}}

start() {{
    ebegin "Setting the network address"
    {SCRIPT_PATH}
    eend $?
}}
"""
