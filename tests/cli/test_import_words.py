"""Messages of `image import` speak of its options, and of no key of a manifest."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.cli.import_words import as_options

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[2] / "bangerbuild"
ABOUT_IMAGES = ("formats", "virtual_disk", "sources", "fetch", "steps/image_tree.py", "steps/image_source.py")
KEY = re.compile(r"`(?:[a-z_]+ = …|size|max_size|sha256|platform|partition)`")
"""A key of a manifest's rootfs, as messages write it."""


def texts() -> set[str]:
    """Every text of those modules that names such a key, but for docstrings; with X for what is put in."""
    found = set()
    for place in ABOUT_IMAGES:
        path = PACKAGE / place
        for module in path.rglob("*.py") if path.is_dir() else [path]:
            found |= set(_texts(ast.parse(module.read_text())))
    return {text for text in found if KEY.search(text)}


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def test_there_are_such_texts() -> None:
    assert len(texts()) > 20


@pytest.mark.parametrize("text", sorted(texts()))
def test_no_message_of_an_import_names_a_key(text: str) -> None:
    said = as_options(text)
    assert not KEY.search(said)
    assert "in a manifest" not in said
    assert said.count("`") % 2 == 0
    assert "  " not in said.replace("  ", "", text.count("  "))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'name one with `partition = …`: a number, "LABEL=…", "PARTLABEL=…" or "UUID=…"',
            'name one with `--partition …`: a number, "LABEL=…", "PARTLABEL=…" or "UUID=…"',
        ),
        ("make `size` larger, or leave it out", "make `--size` larger, or leave it out"),
        (
            "if it is to be trusted, say with `max_size` how much it may unpack to",
            "if it is to be trusted, say with `--max-size` how much it may unpack to",
        ),
        (
            "mount it and give the mount point (`directory = …` in a manifest)",
            "mount it and give the mount point",
        ),
        (
            "decompress it, then name it with `ext4 = …` in a manifest",
            "decompress it, then give it as SOURCE",
        ),
        ("a message without any", "a message without any"),
        ("`bangerbuild gc` frees it", "`bangerbuild gc` frees it"),
    ],
)
def test_a_message_reads_as_one_about_the_command_line(text: str, said: str) -> None:
    assert as_options(text) == said
