"""What overlayfs itself leaves in an upper tree: whiteouts, and attributes that a guest does not see.

    character device 0:0                 a whiteout: the name is gone, whatever the lower tree has there
    trusted.overlay.opaque = "y"         on a directory: nothing of the lower tree's directory is in it
    trusted.overlay.redirect             on a directory: it is merged with one of another name
    trusted.overlay.metacopy             on a file: its content is that of a file in the lower tree
    trusted.overlay.overlay.NAME         what the guest sees as trusted.overlay.NAME
    trusted.overlay.origin, impure, …    what it was copied up from; of use only with these lower inodes

Redirects and metacopies are left only by a mount that asks for them, and a mount with
`redirect_dir=off,metacopy=off` does not follow them. So they are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIVATE = "trusted.overlay."
ESCAPED = "trusted.overlay.overlay."
OPAQUE = "trusted.overlay.opaque"
IS_OPAQUE = b"y"
HAS_XWHITEOUTS = b"x"
WHITEOUT_DEVICE = (0, 0)
_REFUSED = {
    "trusted.overlay.redirect": "its content is that of a directory of another name",
    "trusted.overlay.metacopy": "its content is that of a file in the image",
    "trusted.overlay.whiteout": "it is a whiteout in the form of a file",
}
_HINT = "mount the two trees with redirect_dir=on,metacopy=on, copy it to a new name, and remove it"


def refuse_unread(xattrs: Mapping[str, bytes]) -> None:
    """Refuse a file with attributes that a mount without redirects and metacopies does not follow.

    Raises:
        FilesystemError: it has such; the attribute is named.
    """
    for name, meaning in _REFUSED.items():
        if name in xattrs:
            raise FilesystemError(
                f"it has the attribute '{name}', which is not followed: {meaning}", hint=_HINT
            )
    if xattrs.get(OPAQUE) == HAS_XWHITEOUTS:
        raise FilesystemError(
            f"it has the attribute '{OPAQUE}' of value 'x', which is not followed", hint=_HINT
        )


def is_opaque(xattrs: Mapping[str, bytes]) -> bool:
    """Whether a directory of the upper tree hides that of the lower."""
    return xattrs.get(OPAQUE) == IS_OPAQUE


def seen(xattrs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The attributes that a guest sees of those that are stored."""
    return {
        name.replace(ESCAPED, PRIVATE, 1): value
        for name, value in xattrs.items()
        if not name.startswith(PRIVATE) or name.startswith(ESCAPED)
    }


def stored(name: str) -> str:
    """The name under which an attribute of a guest is stored."""
    return ESCAPED + name.removeprefix(PRIVATE) if name.startswith(PRIVATE) else name
