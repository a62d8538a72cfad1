"""The verdict on immutable artifacts, which are an image's disks, kernel and initrd: kept, or made anew."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from bangerbuild.model import Reason, ReasonCode, Verb, Verdict

if TYPE_CHECKING:
    from bangerbuild.model import Situation


def judge(situation: Situation) -> Verdict:
    """A changed recipe makes a new artifact beside the old one; a missing or damaged one is made again."""
    if situation.record is None or situation.missing:
        return Verdict(Verb.CREATE, (*situation.changes, Reason(ReasonCode.MISSING)))
    if situation.changes:
        return Verdict(Verb.CREATE, situation.changes)
    if situation.modified():
        path = _common(situation.record.artifacts)
        return Verdict(Verb.REPLACE, (Reason(ReasonCode.ARTIFACT_MODIFIED, {"path": path}),))
    return Verdict(Verb.KEEP)


def _common(artifacts: tuple[str, ...]) -> str:
    """The artifact; of several, which lie together, their directory: nobody says which was changed."""
    return artifacts[0] if len(artifacts) == 1 else posixpath.commonpath(artifacts)
