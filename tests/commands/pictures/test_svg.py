"""The graph as a picture, judged by Graphviz and an XML parser."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bangerbuild import graph
from bangerbuild.commands.pictures.svg import folded_dot, svg
from bangerbuild.errors import ToolError
from bangerbuild.host import process
from tests.fakes import FakeStep
from tests.need import need

IMAGE = "image.small.rootfs"
NAMES = tuple(f"r-{number}" for number in range(40))
STEPS = graph.build(
    [
        FakeStep(IMAGE),
        *(FakeStep(f"vm.{name}.root", (IMAGE,)) for name in (*NAMES, "web")),
        *(FakeStep(f"vm.{name}.root.patch", (f"vm.{name}.root",)) for name in (*NAMES, "web")),
    ]
)


def test_a_picture_has_a_node_for_each_step_and_one_for_all_of_a_fleet() -> None:
    need("dot")
    drawn = ET.fromstring(svg(STEPS, {"r": NAMES}))  # noqa: S314  # made by Graphviz from our own text
    titles = {title.text for title in drawn.iter("{http://www.w3.org/2000/svg}title")}
    nodes = {IMAGE, "fleet.r.root", "fleet.r.root.patch", "vm.web.root", "vm.web.root.patch"}
    assert nodes <= titles
    assert {title for title in titles if title and "->" in title} == {
        f"{IMAGE}->fleet.r.root",
        f"{IMAGE}->vm.web.root",
        "fleet.r.root->fleet.r.root.patch",
        "vm.web.root->vm.web.root.patch",
    }
    texts = {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert "fake, 40 VMs" in texts


def test_without_fleets_every_step_is_a_node() -> None:
    assert folded_dot(STEPS, {}).count("[label=") == len(STEPS)


def test_without_graphviz_the_error_is_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SEARCH_PATH", "/nonexistent")
    with pytest.raises(ToolError, match="'dot' is not installed") as caught:
        svg(STEPS, {})
    assert (caught.value.hint, caught.value.exit_code) == ("apt install graphviz", 1)
