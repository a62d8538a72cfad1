"""The verdict on a disk that a guest may have written to: made, adopted, grown, or left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bangerbuild.model import TO_MAKE, Reason, ReasonCode, Verb, Verdict

if TYPE_CHECKING:
    from bangerbuild.model import Record, Situation


def judge(situation: Situation, size_bytes: int | None) -> Verdict:
    """What is done about a disk that is a guest's from the moment it is published: made, adopted, grown.

    What it was first filled with no longer counts. `size_bytes` is the declared size; None: any.
    """
    if situation.missing:
        return TO_MAKE
    if situation.record is None:
        return judge_unknown(situation, size_bytes)
    return judge_found(situation, judge_size(file_bytes(situation, situation.record), size_bytes))


def judge_unknown(situation: Situation, size_bytes: int | None) -> Verdict:
    """A disk that no record knows is taken over as it is, and grown to its size, unless it can't be."""
    if situation.found:
        return Verdict(Verb.BLOCKED, situation.found)
    unknown = Reason(ReasonCode.MISSING, {"record": True})
    sized = (
        Verdict(Verb.KEEP) if situation.file_bytes is None else judge_size(situation.file_bytes, size_bytes)
    )
    return Verdict(Verb.BLOCKED if sized.verb is Verb.BLOCKED else Verb.ADOPT, (unknown, *sized.reasons))


def judge_found(situation: Situation, verdict: Verdict, *, is_unreadable: bool = False) -> Verdict:
    """What is done about a recorded disk that was looked into: nothing, if that would fail.

    Of one that is only kept it matters whether it is another than was recorded: then it was cut, or swapped.
    `is_unreadable`: what was found keeps its filesystem from being read, so its patch can't be kept either,
    unless the disk is ours: that is made anew with its patch.
    """
    if not situation.found or situation.record is None or verdict.verb is Verb.REPLACE:
        return verdict
    is_other = any(reason.code is ReasonCode.BASE_UNKNOWN for reason in situation.found)
    resized = file_bytes(situation, situation.record) != _recorded_bytes(situation.record)
    is_broken = is_other or resized or (is_unreadable and situation.modified())
    if verdict.verb is Verb.KEEP and not is_broken:  # nothing has to be done to it, and its guest may mend it
        return Verdict(Verb.KEEP, (*verdict.reasons, *situation.found))
    reasons = verdict.reasons if verdict.verb is Verb.BLOCKED else ()
    return Verdict(Verb.BLOCKED, (*reasons, *situation.found))


def file_bytes(situation: Situation, record: Record) -> int:
    """What a disk has now, which somebody may have changed; as long as nothing changes, what it had."""
    known = _recorded_bytes(record)
    return known if situation.file_bytes is None else situation.file_bytes


def _recorded_bytes(record: Record) -> int:
    return cast("int", record.fact("file_bytes"))


def judge_grown(record: Record, size_bytes: int) -> Verdict:
    """Of a disk that has its size, whether it is only remembered as smaller: then growing it ends at once."""
    recorded = _recorded_bytes(record)
    return judge_size(recorded, size_bytes) if recorded < size_bytes else Verdict(Verb.KEEP)


def judge_size(old: int, new: int | None) -> Verdict:
    """Whether a disk keeps its size, grows, or can't shrink."""
    if new is None or new == old:
        return Verdict(Verb.KEEP)
    sizes = {"old": old, "new": new}
    if new < old:
        return Verdict(Verb.BLOCKED, (Reason(ReasonCode.SIZE_SHRINK, dict(sizes)),))
    return Verdict(Verb.GROW, (Reason(ReasonCode.SIZE_GROW, dict(sizes)),))
