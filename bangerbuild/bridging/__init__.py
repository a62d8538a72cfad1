"""What sets up a network on the host: its bridge, tap devices and NAT, as text. Pure; no I/O."""
