"""`bangerbuild ls` and `cat`: look into disks."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bangerbuild.cli import options, output
from bangerbuild.errors import ManifestError, printable

if TYPE_CHECKING:
    from bangerbuild.commands.disk_names import NamedDisk


@click.command()
@options.disk_arguments
@click.option("-l", "--long", "in_full", is_flag=True, help="Modes, owners, sizes and times too.")
def ls(  # noqa: PLR0913  # one parameter for each option of the command
    disk: str,
    guest_path: str,
    base: Path | None,
    *,
    manifest: tuple[Path, ...],
    store: Path | None,
    in_full: bool,
) -> None:
    """List what is in a directory of a disk.

    DISK is a file of any format, or an id: vm.web is the disk of the VM that the path is on, vm.web.work its
    work disk, image.debian an image. A path is the guest's, or else the disk's own.
    """
    from bangerbuild.commands import browse

    found = _named(disk, guest_path, manifest, store)
    with browse.opened_for(found, guest_path, base, warn=output.warn) as filesystem:
        for line in browse.listing(filesystem, guest_path, in_full=in_full):
            shown = printable(line) if sys.stdout.isatty() else line
            if not output.result(os.fsencode(shown)):
                break


@click.command()
@options.disk_arguments
def cat(
    disk: str, guest_path: str, base: Path | None, manifest: tuple[Path, ...], store: Path | None
) -> None:
    """Print a file that is on a disk.

    DISK is a file of any format, or an id: vm.web is the disk of the VM that the path is on, vm.web.work its
    work disk, image.debian an image. A path is the guest's, or else the disk's own.
    """
    from bangerbuild.commands import browse

    found = _named(disk, guest_path, manifest, store)
    with browse.opened_for(found, guest_path, base, warn=output.warn) as filesystem:
        for piece in browse.content(filesystem, guest_path):
            if not output.result(piece, newline=False):
                break


def _named(word: str, guest_path: str, manifest: tuple[Path, ...], store: Path | None) -> NamedDisk:
    from bangerbuild.commands import disk_names

    if disk_names.is_id(word):
        outline = options.outline(manifest, store)
        return disk_names.by_id(word, guest_path, outline.store, outline.vms)
    if not os.path.lexists(word) and "/" not in word:
        try:
            outline = options.outline(manifest, store)
        except ManifestError:  # then there is nothing to tell it from
            return disk_names.at_path(Path(word))
        disk_names.check_word(word, outline.store, outline.vms)
    return disk_names.at_path(Path(word))
