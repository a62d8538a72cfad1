"""The kinds of source that are one file; `url` takes them too, told by their content.

A new kind of such files is a file of this package, a line here, a part of the schema, and tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.sources.cpio import CpioSource
from bangerbuild.sources.disk_image import DiskImageSource
from bangerbuild.sources.ext4 import Ext4Source
from bangerbuild.sources.squashfs import SquashfsSource
from bangerbuild.sources.tar import TarSource

if TYPE_CHECKING:
    from bangerbuild.sources.files import FileKind

FILE_KINDS: dict[str, type[FileKind]] = {
    "tar": TarSource,
    "ext4": Ext4Source,
    "disk_image": DiskImageSource,
    "cpio": CpioSource,
    "squashfs": SquashfsSource,
}
