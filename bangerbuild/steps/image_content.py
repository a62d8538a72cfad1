"""Open the source that an image step builds from, and note what the step's record keeps of it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild.sources.source import DiskImage, EntryTree, pin_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from bangerbuild.model import Workspace
    from bangerbuild.sources.source import Content, ImageSource
    from bangerbuild.tree import Entry

    Adapt: TypeAlias = Callable[[Iterator[Entry]], Iterator[Entry]]

FILESYSTEM = DiskImage.form


def as_is(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The entries of a source, unchanged."""
    return entries


@contextmanager
def opened_source(source: ImageSource, workspace: Workspace, adapt: Adapt) -> Iterator[Content]:
    """A source, brought here if it lies elsewhere; of a tree the entries as `adapt` has them.

    Raises:
        SourceError, FetchError, ToolError: it can't be had, or is not what it was pinned to.
    """
    with source.open(workspace) as content:
        data = _adapted(content.data, adapt) if isinstance(content.data, EntryTree) else content.data
        facts = {**content.facts, **pin_facts(source, workspace), "form": data.form}
        yield replace(content, data=data, facts=facts)


def _adapted(tree: EntryTree, adapt: Adapt) -> EntryTree:
    @contextmanager
    def entries() -> Iterator[Iterator[Entry]]:
        with tree.entries() as stream:
            yield adapt(stream)

    return replace(tree, entries=entries)
