"""The SELinux labels of what is written into guests, as the policy of their image gives them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk.labelling import Labels
from bangerbuild.errors import FilesystemError
from bangerbuild.guest import selinux
from bangerbuild.steps import disks

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.guest.file_contexts import FileContexts
    from bangerbuild.guest.view import GuestView
    from bangerbuild.model import Workspace
    from bangerbuild.tree import EntryType

SEEN = ("/", "/etc", "/usr")
"""Where an image that has labels has some."""


@dataclass(frozen=True)
class GuestLabels(Labels):
    """The labels of one policy, and who is told where there is none."""

    contexts: FileContexts
    warn: Callable[[str], None]
    attribute: str = selinux.ATTRIBUTE

    @override
    def label(self, path: str, kind: EntryType) -> bytes | None:
        label = self.contexts.label(path, kind)
        return None if label is None else selinux.value(label)

    @override
    def unknown(self, path: str) -> None:
        self.warn(f"'{path}' has no SELinux label: neither its policy nor its directory gives one")


def of_image(workspace: Workspace, artifact: str) -> Labels | None:
    """The labels of a built image, found once for all that stands on it; None: it has no SELinux."""
    view = disks.shared_view(workspace, artifact)
    found = workspace.shared(
        f"file contexts of {artifact}", lambda: nullcontext(_contexts(view, artifact, workspace.warn))
    )
    return None if found is None else GuestLabels(found, workspace.warn)


def of_view(view: GuestView, name: str, warn: Callable[[str], None]) -> Labels | None:
    """The labels of an image that is being built; `name` is what messages call it."""
    found = _contexts(view, name, warn)
    return None if found is None else GuestLabels(found, warn)


def _contexts(view: GuestView, name: str, warn: Callable[[str], None]) -> FileContexts | None:
    try:
        return selinux.file_contexts(view)
    except FilesystemError as err:
        warn(f"'{name}': what is written gets no SELinux label: {err.brief}")
        return None


def warn_unlabelled(disk: Filesystem, view: GuestView, name: str, warn: Callable[[str], None]) -> None:
    """Say that a new root has SELinux and no labels, with which it does not boot while that is enforced."""
    if _contexts(view, name, warn) is None:
        return
    there = [path for path in SEEN if disk.exists(path)]
    if not any(selinux.ATTRIBUTE in disk.get_xattrs(path) for path in there):
        warn(
            f"'{name}' has SELinux and no labels on its files: make it with them (tar: --xattrs "
            "--xattrs-include='*'), label it where it is made (setfiles), or set SELINUX=permissive in its "
            f"{selinux.CONFIG}"
        )
