"""The known name that somebody meant who typed another: for every "did you mean"."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LETTERS_PER_SLIP = 4
"""One slip is forgiven in a name of up to so many letters, two in one of twice as many."""


COUNTED_LENGTH = 63
COMPARED_LENGTH = 200
COMPARED_NAMES = 1000


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that a word is near enough to that it may be meant; None: none is.

    Long words and many names are not compared: that takes time, for every problem of a manifest.
    """
    names = sorted(set(known))
    if len(word) > COMPARED_LENGTH or len(names) > COMPARED_NAMES:
        return None
    likely = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    if likely:
        return likely[0]
    if len(word) > COUNTED_LENGTH:
        return None
    most = 1 + (len(word) - 1) // LETTERS_PER_SLIP
    counted = [(slips(word, name), name) for name in names if abs(len(name) - len(word)) <= most]
    near = [(count, name) for count, name in counted if count <= most and _is_told(count, word, name)]
    return min(near, default=(0, None))[1]


def _is_told(count: int, word: str, name: str) -> bool:
    """Whether enough of a name is left after so many slips; one of a letter or two has to be all there."""
    is_all_there = word in name or name in word or sorted(word) == sorted(name)
    return count < len(name) - 1 or (bool(word) and is_all_there)


def near(word: str, known: Iterable[str]) -> str | None:
    """The hint "did you mean …?", if a known name is near enough to be meant."""
    found = nearest(word, known)
    return None if found is None else f"did you mean '{found}'?"


def slips(one: str, other: str) -> int:
    """How many letters have to be added, dropped, changed or swapped with their neighbour."""
    before, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, wanted in enumerate(other, 1):
            count = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                count = min(count, older[j - 2] + 1)
            row.append(count)
    return row[-1]
