"""The graph in each form in which it is drawn, and many VMs with the same steps in one picture."""

from __future__ import annotations

import pytest

from bangerbuild import graph
from bangerbuild.report import pictures
from tests.fakes import FakeStep

VM = (
    FakeStep("image.deb.rootfs", outputs=("images/deb/{fingerprint}/rootfs.ext4",)),
    FakeStep("vm.web.root", inputs=("image.deb.rootfs",), outputs=("vms/web/root.cow",)),
    FakeStep("vm.web.root.patch", inputs=("vm.web.root",), changes="vm.web.root"),
    FakeStep("vm.db.root", inputs=("image.deb.rootfs",), outputs=("vms/db/root.cow",)),
    FakeStep("image.deb.work_seed@16GiB", outputs=("images/deb/{fingerprint}/work-seed@16GiB.ext4",)),
)


def many(count: int, image: str = "deb", stem: str = "v") -> list[FakeStep]:
    steps = [FakeStep(f"image.{image}.rootfs")]
    for number in range(count):
        root = f"vm.{stem}{number}.root"
        steps += [
            FakeStep(root, inputs=(f"image.{image}.rootfs",)),
            FakeStep(f"{root}.patch", inputs=(root,)),
        ]
    return steps


def test_the_graph_as_text_has_a_line_per_step_with_what_it_needs() -> None:
    assert pictures.to_text(graph.build(VM)) == (
        "image.deb.rootfs\n"
        "vm.web.root                <- image.deb.rootfs\n"
        "vm.web.root.patch          <- vm.web.root\n"
        "vm.db.root                 <- image.deb.rootfs\n"
        "image.deb.work_seed@16GiB\n"
    )


def test_the_graph_in_the_language_of_graphviz() -> None:
    assert pictures.to_dot(graph.build(VM[:2])) == (
        "digraph bangerbuild {\n"
        "  rankdir=LR;\n"
        "  node [shape=box];\n"
        '  "image.deb.rootfs" [label="image.deb.rootfs\\nfake"];\n'
        '  "vm.web.root" [label="vm.web.root\\nfake"];\n'
        '  "image.deb.rootfs" -> "vm.web.root";\n'
        "}\n"
    )


def test_the_graph_in_the_language_of_mermaid() -> None:
    assert pictures.to_mermaid(graph.build(VM[:3])) == (
        "graph LR\n"
        '  s0["image.deb.rootfs"]\n'
        '  s1["vm.web.root"]\n'
        '  s2["vm.web.root.patch"]\n'
        "  s0 --> s1\n"
        "  s1 --> s2\n"
    )


def test_the_graph_as_json() -> None:
    assert pictures.to_json(graph.build(VM[1::-1])) == {
        "format": 1,
        "steps": [
            {
                "id": "image.deb.rootfs",
                "kind": "fake",
                "needs": [],
                "artifacts": ["images/deb/{fingerprint}/rootfs.ext4"],
            },
            {
                "id": "vm.web.root",
                "kind": "fake",
                "needs": ["image.deb.rootfs"],
                "artifacts": ["vms/web/root.cow"],
            },
        ],
    }


def test_no_steps_make_an_empty_text() -> None:
    assert pictures.to_text(graph.build([])) == ""


def test_many_vms_with_the_same_steps_are_drawn_once() -> None:
    assert pictures.to_text(graph.build(many(200))) == (
        "image.deb.rootfs\n"
        "vm.v0.root (200 VMs)        <- image.deb.rootfs\n"
        "vm.v0.root.patch (200 VMs)  <- vm.v0.root\n"
        "vm.v0 stands for 200 VMs with the same steps: "
        "vm.v0, vm.v1, vm.v2, vm.v3, vm.v4 and 195 more\n"
    )


@pytest.mark.parametrize("form", pictures.RENDERERS)
def test_a_picture_does_not_grow_with_the_number_of_alike_vms(form: str) -> None:
    draw = pictures.RENDERERS[form]
    lines = [len(draw(graph.build(many(count))).splitlines()) for count in (20, 200)]
    assert lines[0] == lines[1] < 15
    assert len(draw(graph.build(many(200)), in_full=True).splitlines()) > 400


def test_json_has_every_step() -> None:
    found = pictures.to_json(graph.build(many(200)))["steps"]
    assert isinstance(found, list)
    assert len(found) == 401


def test_vms_that_differ_are_drawn_apart() -> None:
    both = [*many(20), *many(20, "alpine", "a")]
    text = pictures.to_text(graph.build(both))
    assert "vm.v0.root (20 VMs)" in text
    assert "vm.a0.root (20 VMs)" in text
    assert "(40 VMs)" not in text


def test_a_few_vms_are_drawn_one_by_one() -> None:
    assert "VMs" not in pictures.to_text(graph.build(many(8)))


def test_what_needs_steps_of_all_vms_needs_the_one_that_is_drawn() -> None:
    steps = many(20)
    roots = tuple(step.id for step in steps if step.id.endswith(".root"))
    text = pictures.to_text(graph.build([*steps, FakeStep("network.lan.bridge", inputs=roots)]))
    assert "network.lan.bridge         <- vm.v0.root\n" in text
