"""`nat.nft`: the rules of a network that leads to the outside, in a table of their own.

The table is written as `nft list table` writes it, so that up.sh can compare the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bangerbuild.bridging.bridge import Bridge

NAME = "nat.nft"

RULES = """\
#!/usr/sbin/nft -f
# Lets the VMs of the network {network} out under an address of this host, and answers to them in.
# What else comes from outside does not reach them. Frames from one VM to another pass, also where
# br_netfilter hands them to these chains.
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
	chain forward {{
		type filter hook forward priority filter; policy accept;
		iifname "{device}" accept
		oifname "{device}" ct state established,related accept
		oifname "{device}" ct status dnat accept
		oifname "{device}" drop
	}}

	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr {subnet} oifname != "{device}" masquerade
	}}
}}
"""


def rules(bridge: Bridge) -> str:
    """The file's text."""
    return RULES.format(
        network=bridge.network, table=bridge.table, device=bridge.device, subnet=bridge.subnet
    )
