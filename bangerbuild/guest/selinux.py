"""Whether a guest has SELinux, and the labels that its policy gives to paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.guest.file_contexts import FileContexts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.guest.view import GuestView

CONFIG = "/etc/selinux/config"
ATTRIBUTE = "security.selinux"


def file_contexts(view: GuestView) -> FileContexts | None:
    """The labels of a guest's policy; None: it has no SELinux, or switches it off, or has no policy.

    Raises:
        FilesystemError: a file of it can't be read.
    """
    config = view.read(CONFIG)
    if config is None:
        return None
    settings = _settings(_text(config))
    policy = settings.get("SELINUXTYPE", "targeted")
    if settings.get("SELINUX", "").lower() == "disabled" or "/" in policy:
        return None
    base = f"/etc/selinux/{policy}/contexts/files/file_contexts"
    own = view.read(base)
    if own is None:
        return None
    parts = {
        end: _text(view.read(f"{base}.{end}") or b"") for end in ("homedirs", "local", "subs", "subs_dist")
    }
    return FileContexts((_text(own), parts["homedirs"], parts["local"]), parts["subs"], parts["subs_dist"])


def value(label: str) -> bytes:
    """A label as the attribute holds it."""
    return label.encode() + b"\0"


def _settings(text: str) -> Mapping[str, str]:
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): setting.strip() for name, _, setting in pairs}


def _text(data: bytes) -> str:
    return data.decode("ascii", "surrogateescape")
