"""bangerbuild: disks of microVMs from a TOML manifest, without root."""

__version__ = "0.1.0"
