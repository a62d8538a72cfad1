"""The guest views of patches: files and users as the image has them, and as a VM's root has them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from typing_extensions import override

from bangerbuild.guest.devices import RootDevices
from bangerbuild.guest.view import GuestView
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from bangerbuild.disk.inode import Stat
    from bangerbuild.disk.opened import OpenedDisk

_T = TypeVar("_T")

CONFIG_BYTES = 1 << 20
"""No guest's passwd, fstab or sshd_config is larger; a hostile one would fill the memory, line by line."""


class ImageView(GuestView):
    """An image as a patch may read it, each thing once: one serves all the VMs that stand on the image.

    Threads take turns. The image is never written, so what was read stays true.
    """

    def __init__(self, image: OpenedDisk) -> None:
        self._image = image
        self._lock = threading.Lock()
        self._stats: dict[str, Stat | None] = {}
        self._contents: dict[str, bytes | None] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._links: dict[str, str | None] = {}
        self._answers: dict[Hashable, object] = {}

    @override
    def read(self, path: str) -> bytes | None:
        with self._lock:
            if path not in self._contents:
                self._contents[path] = self._image.read(path, most_bytes=CONFIG_BYTES)
            return self._contents[path]

    @override
    def exists(self, path: str) -> bool:
        return self.stat(path) is not None

    def is_directory(self, path: str) -> bool | None:
        """Whether a directory is there, links followed; None: nothing is."""
        found = self.stat(path)
        return None if found is None else found.type is EntryType.DIRECTORY

    @override
    def mode(self, path: str) -> int | None:
        found = self.stat(path)
        return found.mode if found else None

    @override
    def names(self, path: str) -> tuple[str, ...]:
        with self._lock:
            if path not in self._names:
                self._names[path] = self._listed(path)
            return self._names[path]

    def _listed(self, path: str) -> tuple[str, ...]:
        found = self._image.stat(path)
        if found is None or found.type is not EntryType.DIRECTORY:
            return ()
        return tuple(self._image.listdir(path) or ())

    @override
    def link(self, path: str) -> str | None:
        with self._lock:
            if path not in self._links:
                found = self._image.stat(path, follow=False)
                self._links[path] = found.target if found and found.type is EntryType.SYMLINK else None
            return self._links[path]

    @override
    def once(self, question: Hashable, answer: Callable[[GuestView], _T]) -> _T:
        # Without the lock, which `answer` needs: two threads may work out the same.
        if question not in self._answers:
            self._answers[question] = answer(self)
        return cast("_T", self._answers[question])

    @override
    def root_devices(self) -> RootDevices:
        """A disk that is mounted, as most roots are; see `OnDrives`."""
        return RootDevices(self._image.tags)

    def stat(self, path: str) -> Stat | None:
        """What is there; links are followed."""
        with self._lock:
            if path not in self._stats:
                self._stats[path] = self._image.stat(path)
            return self._stats[path]


class RootView(GuestView):
    """A root as its patch may read it: its image, but for the users and groups that the root has now.

    The image's fstab and sshd_config are what a patch adds to; on the root they hold what it added before.
    """

    def __init__(self, image: GuestView, disk: OpenedDisk) -> None:
        self._image = image
        self._disk = disk

    @override
    def read(self, path: str) -> bytes | None:
        if path in {"/etc/passwd", "/etc/group"}:
            return self._disk.read(path, most_bytes=CONFIG_BYTES)
        return self._image.read(path)

    @override
    def exists(self, path: str) -> bool:
        return self._image.exists(path)

    @override
    def mode(self, path: str) -> int | None:
        return self._image.mode(path)

    @override
    def names(self, path: str) -> tuple[str, ...]:
        return self._image.names(path)

    @override
    def link(self, path: str) -> str | None:
        return self._image.link(path)

    @override
    def once(self, question: Hashable, answer: Callable[[GuestView], _T]) -> _T:
        return self._image.once(question, answer)

    @override
    def root_devices(self) -> RootDevices:
        return self._image.root_devices()


class OnDrives:
    """An image as the patch of a root reads it that takes several drives, or is not mounted itself."""

    def __init__(self, image: ImageView, *, count: int, is_mounted: bool) -> None:
        self._devices = replace(image.root_devices(), count=count, is_mounted=is_mounted)
        self.read = image.read
        self.exists = image.exists
        self.mode = image.mode
        self.names = image.names
        self.link = image.link
        self.once = image.once

    def root_devices(self) -> RootDevices:
        """As the format of the root says."""
        return self._devices
