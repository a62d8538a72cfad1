"""Ids of steps, such as `vm.web.root.patch`: what they are made of, and how they are put together."""

from __future__ import annotations

import functools
import re

MOST_CHARACTERS = 255
"""Of an id that is read out of a store: what belongs to it is locked by a file of its name."""
_ID = re.compile(r"[a-z0-9][a-zA-Z0-9_@-]*(?:\.[a-zA-Z0-9_@-]+)*")
MOST_IDS = 1 << 14
"""How many ids are remembered: a step's id is asked for often, and soon again."""


class StepId(str):
    """The id of a step, or of a VM, image or network as a whole.

    It is text wherever users meet it, `table.name.part`: the table `vm`, `image` or `network`, a name in it,
    and the part of that which the step makes. A part may have dots (`disk.data.patch`) and a size
    (`work_seed@16GiB`). What belongs to the VM, image or network as a whole has no part.
    """

    __slots__ = ()

    @classmethod
    @functools.lru_cache(MOST_IDS)
    def vm(cls, name: str, part: str) -> StepId:
        """The id of a step of a VM."""
        return cls(f"vm.{name}.{part}")

    @classmethod
    @functools.lru_cache(MOST_IDS)
    def image(cls, name: str, part: str) -> StepId:
        """The id of a step of an image."""
        return cls(f"image.{name}.{part}")

    @classmethod
    def network(cls, name: str, part: str) -> StepId:
        """The id of a step of a network."""
        return cls(f"network.{name}.{part}")

    @classmethod
    @functools.lru_cache(MOST_IDS)
    def checked(cls, value: str) -> StepId:
        """An id that was read out of a store, which somebody else may have made.

        Raises:
            ValueError: it is not made of names and dots.
        """
        if len(value) > MOST_CHARACTERS or not _ID.fullmatch(value):
            raise ValueError(f"'{value[:MOST_CHARACTERS]}' is no id of a step")
        return cls(value)

    @property
    def table(self) -> str:
        """`vm`, `image` or `network`."""
        return self.split(".", 1)[0]

    @property
    def name(self) -> str:
        """Of the VM, image or network; empty if there is none."""
        return (*self.split(".", 2), "")[1]

    @property
    def part(self) -> str:
        """What of it the step makes; empty for the VM, image or network as a whole."""
        return (*self.split(".", 2), "", "")[2]

    @property
    def owner(self) -> StepId:
        """The VM, image or network that it belongs to: `vm.web`."""
        return StepId(".".join(self.split(".", 2)[:2]))

    @property
    def parent(self) -> StepId:
        """The id without its last part: a disk's for that of its patch."""
        return StepId(self.rpartition(".")[0])

    @property
    def patch(self) -> StepId:
        """The id of the step that patches the disk that this step makes."""
        return StepId(f"{self}.patch")

    @property
    def prefixes(self) -> tuple[StepId, ...]:
        """The id and every shorter one that still has a name: what a user may call it by."""
        words = self.split(".")
        return tuple(StepId(".".join(words[:count])) for count in range(2, len(words) + 1))
