"""The sshd that judges what is written for one."""

from tests.guest.debian_sshd import debian_sshd

__all__ = ["debian_sshd"]
