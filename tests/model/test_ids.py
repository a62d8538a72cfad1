"""Ids are text with parts."""

from __future__ import annotations

import json
import pickle

import pytest

from bangerbuild.model import StepId


@pytest.mark.parametrize(
    ("text", "table", "name", "part", "owner"),
    [
        ("vm.web", "vm", "web", "", "vm.web"),
        ("vm.web.root.patch", "vm", "web", "root.patch", "vm.web"),
        ("vm.web.disk.data", "vm", "web", "disk.data", "vm.web"),
        ("image.x.work_seed@16GiB", "image", "x", "work_seed@16GiB", "image.x"),
        ("network.lan.bridge", "network", "lan", "bridge", "network.lan"),
        ("vm", "vm", "", "", "vm"),
    ],
)
def test_an_id_has_a_table_a_name_and_a_part(text: str, table: str, name: str, part: str, owner: str) -> None:
    step_id = StepId(text)
    assert (step_id.table, step_id.name, step_id.part, step_id.owner) == (table, name, part, owner)


def test_an_id_is_put_together_from_its_parts() -> None:
    assert StepId.vm("web", "disk.data").patch == "vm.web.disk.data.patch"
    assert StepId.image("x", "rootfs") == "image.x.rootfs"
    assert StepId.network("lan", "bridge") == "network.lan.bridge"
    assert StepId("vm.web.root.patch").parent == "vm.web.root"


def test_a_user_may_call_it_by_every_shorter_id_that_has_a_name() -> None:
    assert StepId("vm.web.root.patch").prefixes == ("vm.web", "vm.web.root", "vm.web.root.patch")


def test_an_id_is_text_for_dicts_json_and_other_processes() -> None:
    step_id = StepId("vm.web.root")
    assert {"vm.web.root": 1}[step_id] == 1
    assert json.dumps([step_id]) == '["vm.web.root"]'
    assert pickle.loads(pickle.dumps(step_id)) == step_id  # noqa: S301  # it was dumped on this line
