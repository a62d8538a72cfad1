"""A real kernel boots what the tool makes: Debian, systemd and dm-snapshot under QEMU without KVM."""
