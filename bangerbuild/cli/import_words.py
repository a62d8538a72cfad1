"""Messages of `image import`, which has options where a manifest has keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS = "size|max_size|sha256|platform|partition"
"""The keys of a rootfs that are options too."""
_KINDS = "ext4|tar|cpio|squashfs|disk_image|directory|oci|dockerfile|url"
"""The keys that say what a source is: the command tells that from its content."""
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(rf"`({_OPTIONS})( = …)?`"), lambda found: _option(found[1], bool(found[2]))),
    (re.compile(rf" \((?:in a manifest: )?`(?:{_KINDS}) = …`(?: in a manifest)?\)"), ""),
    (re.compile(rf": `(?:{_KINDS}) = …`(?: or `(?:{_KINDS}) = …`)?(?: with `owner = 'keep'`)?"), ""),
    (re.compile(rf"in a manifest, name (that|it|the result) with `(?:{_KINDS}) = …`"), r"give \1 as SOURCE"),
    (
        re.compile(rf"name (.+?) with `(?:{_KINDS}) = …`(?: in a manifest)?"),
        lambda found: f"give {found[1]} as SOURCE",
    ),
    (re.compile(r"; or give it as SOURCE if .* is$"), ""),
    (re.compile(rf"is named with `(?:{_KINDS}) = …`"), "is given as it is"),
    (re.compile(r"\bsay (`builder = \"[a-z]+\"`)"), r"say \1 in a manifest"),
)


def as_options(text: str) -> str:
    """A message about a rootfs of a manifest, as one about the command line."""
    if "`" not in text:
        return text
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text


def _option(key: str, has_value: bool) -> str:  # noqa: FBT001  # of a pattern above
    value = " …" if has_value else ""
    return f"`--{key.replace('_', '-')}{value}`"
