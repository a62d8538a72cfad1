"""Remove from a new root what makes the image one certain machine, so that each makes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.guest.init_system import InitSystem, enabled_script, enabled_unit, init_system
from bangerbuild.tree import GuestChange, GuestEdits, GuestFile, GuestRemoval, GuestSymlink

if TYPE_CHECKING:
    from bangerbuild.guest.view import GuestView

MACHINE_ID = "/etc/machine-id"
DBUS_MACHINE_ID = "/var/lib/dbus/machine-id"
HOST_KEYS = "/etc/ssh/ssh_host_*"
HOST_KEYS_UNIT = "bangerbuild-host-keys.service"

CLOUD_SEEDS = "/var/lib/cloud/seed"

LEFTOVERS = (
    # cloud-init would go on as the instance that it was, or set the name, keys and network of a seed.
    *(f"/var/lib/cloud/{name}" for name in ("instance", "instances", "data", "sem", "seed/nocloud*")),
    # Secrets that must differ between machines (systemd's "Building Images Safely").
    *("/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret"),
    "/var/lib/NetworkManager/secret_key",
    # Addresses that a DHCP server gave to another machine.
    *("/var/lib/dhcp/*.leases", "/var/lib/dhclient/*.lease*", "/var/lib/NetworkManager/*.lease"),
    *("/var/lib/dhcpcd/*.lease*", "/var/lib/dhcpcd/duid", "/var/lib/dhcpcd/secret"),
)
"""What else tells machines apart, or is another machine's; scripts of /var/lib/cloud are the image's own."""

# Early and before all that starts sshd, so that no connection meets an sshd without keys: a usual service is
# after basic.target, and that is after ssh.socket. The units of Fedora and Arch that make keys find these.
# An empty key, left by a machine that was cut off, counts as none; ssh-keygen makes it anew.
_UNIT_TEXT = """\
[Unit]
Description=Make the SSH host keys of this machine
DefaultDependencies=no
ConditionFileIsExecutable=/usr/bin/ssh-keygen
After=local-fs.target
Before=ssh.service sshd.service ssh.socket sshd.socket sshdgenkeys.service
Before=sshd-keygen@rsa.service sshd-keygen@ecdsa.service sshd-keygen@ed25519.service
Before=shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for key in /etc/ssh/ssh_host_*_key; do [ -s "$$key" ] && exit 0; done; \
exec /usr/bin/ssh-keygen -A'

[Install]
WantedBy=multi-user.target
"""

HOST_KEYS_SCRIPT = "bangerbuild-host-keys"
_SCRIPT_TEXT = """\
#!/sbin/openrc-run
description="Makes the SSH host keys of this machine"

depend() {
    use localmount
    after localmount
    before sshd ssh
}

start() {
    for key in /etc/ssh/ssh_host_*_key; do
        [ -s "$key" ] && return 0
    done
    ebegin "Making SSH host keys"
    ssh-keygen -A
    eend $?
}
"""
_SSHD_SCRIPTS = ("/etc/init.d/sshd", "/etc/init.d/ssh")
"""Alpine's and Gentoo's, which runs ssh-keygen itself, and Debian's, which does not."""

_NO_KEYS_WARNING = (
    "the image's SSH host keys are removed, and it has neither systemd nor OpenRC to make new ones: "
    "run 'ssh-keygen -A' before sshd"
)


def fresh_identity(view: GuestView) -> GuestEdits:
    """The changes to a root that was just made from its base; a root that was booted must keep its keys."""
    return GuestEdits.joined((_machine_id(view), _leftovers(view), _host_keys(view)))


def _machine_id(view: GuestView) -> GuestEdits:
    """Empty the machine-id, which systemd sets at boot (machine-id(5)), and handle D-Bus's copy of it.

    Without the file, or with `uninitialized` in it, systemd would start its first-boot setup: it would ask
    questions on the console and turn units on and off by the distribution's presets. So an empty one is
    written. Without systemd nothing sets the id, but D-Bus makes one if its own file is missing (not if it is
    a symlink), so that file is removed.
    """
    has_systemd = init_system(view) is InitSystem.SYSTEMD
    changes: list[GuestChange] = []
    if has_systemd or view.exists(MACHINE_ID):
        changes.append(GuestFile(MACHINE_ID, b"", mode=0o444))
    if view.exists(DBUS_MACHINE_ID):
        link = GuestSymlink(DBUS_MACHINE_ID, MACHINE_ID)
        changes.append(link if has_systemd else GuestRemoval(DBUS_MACHINE_ID))
    return GuestEdits(tuple(changes))


def _leftovers(view: GuestView) -> GuestEdits:
    seeds = [name for name in view.names(CLOUD_SEEDS) if name.startswith("nocloud")]
    warnings = tuple(
        f"the image's seed of cloud-init, '{CLOUD_SEEDS}/{name}', is removed: it would give each VM the "
        f"name, keys and network of one machine. Declare its files to have it, or set guest.identity to false"
        for name in seeds
    )
    return GuestEdits(tuple(map(GuestRemoval, LEFTOVERS)), warnings)


def _host_keys(view: GuestView) -> GuestEdits:
    """Remove the host keys; a unit or script is added that makes new ones, if sshd's own script does not."""
    removal = GuestRemoval(HOST_KEYS)
    match init_system(view):
        case InitSystem.SYSTEMD:
            return GuestEdits((removal, *enabled_unit(HOST_KEYS_UNIT, _UNIT_TEXT)))
        case InitSystem.OPENRC:
            scripts = [text for text in map(view.read, _SSHD_SCRIPTS) if text is not None]
            makes_none = bool(scripts) and not any(b"ssh-keygen" in text for text in scripts)
            added = enabled_script(HOST_KEYS_SCRIPT, _SCRIPT_TEXT) if makes_none else ()
            return GuestEdits((removal, *added))
        case None:
            return GuestEdits((removal,), (_NO_KEYS_WARNING,) if view.exists("/usr/sbin/sshd") else ())
