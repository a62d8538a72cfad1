"""Manifests with a data disk, `data` of the VM `web`."""

from __future__ import annotations

from tests.steps.guest_disks import (
    IMAGE,
)

ID, PATCH = "vm.web.disk.data", "vm.web.disk.data.patch"
WEB = f'{IMAGE}[vm.web]\nimage = "debian"\n'


def disk(name: str = "data", size: str = "64MiB", mount: str = "/data") -> str:
    return f'[[vm.web.disk]]\nname = "{name}"\nsize = "{size}"\nmount = "{mount}"\n'


def file(guest: str, content: str = "x", more: str = "") -> str:
    return f'[[vm.web.file]]\nguest = "{guest}"\ncontent = "{content}"\n{more}'
