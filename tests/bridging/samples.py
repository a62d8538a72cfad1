"""Networks as the tests of their files have them."""

from __future__ import annotations

from dataclasses import replace

from bangerbuild.bridging.bridge import Bridge

LAN = Bridge("lan", "br-lan", "172.16.0.1/16", nat=True, taps=("tap-db", "tap-web"))
PLAIN = replace(LAN, nat=False)
DMZ = Bridge("dmz", "br-dmz", "172.17.0.1/24", nat=True, taps=("tap-mail",))
EMPTY = replace(PLAIN, taps=())
