"""Against Firecracker's own description of its API, src/firecracker/swagger/firecracker.yaml.

The tables below say what version 1.17 has there of the objects that we write. `additionalProperties` is the
`deny_unknown_fields` of the structs that a file is read into; only beside the tables of the whole file other
names are let pass. Nothing we write is younger than 1.0.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from bangerbuild.launch import firecracker
from bangerbuild.launch.session import Session
from tests.launch.samples import PLAIN, PLAIN_BOOT, WEB, WEB_BOOT

if TYPE_CHECKING:
    from bangerbuild.launch.machine import Boot, Machine

STRING = {"type": "string"}
BOOLEAN = {"type": "boolean"}


def table(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


BOOT_SOURCE = table(["kernel_image_path"], kernel_image_path=STRING, initrd_path=STRING, boot_args=STRING)
DRIVE = table(
    ["drive_id", "is_root_device"],
    drive_id={"type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$"},  # what the API lets through as an id
    path_on_host=STRING,
    is_root_device=BOOLEAN,
    is_read_only=BOOLEAN,
    cache_type={"enum": ["Unsafe", "Writeback"]},
    partuuid=STRING,
    io_engine={"enum": ["Sync", "Async"]},
    rate_limiter={"type": "object"},
    socket=STRING,
)
MACHINE_CONFIG = table(
    ["vcpu_count", "mem_size_mib"],
    vcpu_count={"type": "integer", "minimum": 1, "maximum": 32},
    mem_size_mib={"type": "integer", "minimum": 1},
    smt=BOOLEAN,
    cpu_template=STRING,
    track_dirty_pages=BOOLEAN,
    huge_pages={"enum": ["None", "2M"]},
)
NETWORK_INTERFACE = table(
    ["iface_id", "host_dev_name"],
    iface_id={"type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$"},
    host_dev_name={"type": "string", "maxLength": 15},
    guest_mac={"type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$"},
    mtu={"type": "integer"},
    rx_rate_limiter={"type": "object"},
    tx_rate_limiter={"type": "object"},
)
CONFIG = table(
    ["boot-source", "drives"],
    **{
        "boot-source": BOOT_SOURCE,
        "drives": {"type": "array", "items": DRIVE},
        "machine-config": MACHINE_CONFIG,
        "network-interfaces": {"type": "array", "items": NETWORK_INTERFACE},
    },
)


def config(machine: Machine, boot: Boot) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(firecracker.config(machine, boot))
    Draft202012Validator(CONFIG).validate(document)
    return document


def test_a_vm_with_everything_is_described_as_firecrackers_api_wants_it() -> None:
    assert config(WEB, WEB_BOOT) == {
        "boot-source": {
            "kernel_image_path": "../../images/bookworm/aa/vmlinux",
            "initrd_path": "../../images/bookworm/bb/initrd.img",
            "boot_args": "console=ttyS0 reboot=k panic=1",
        },
        "drives": [
            {
                "drive_id": "drive0",
                "path_on_host": "root.dev",
                "is_root_device": True,
                "is_read_only": False,
                "cache_type": "Writeback",
            },
            {
                "drive_id": "drive1",
                "path_on_host": "work.ext4",
                "is_root_device": False,
                "is_read_only": False,
                "cache_type": "Writeback",
            },
            {
                "drive_id": "drive2",
                "path_on_host": "my-data.ext4",
                "is_root_device": False,
                "is_read_only": False,
                "cache_type": "Writeback",
            },
        ],
        "machine-config": {"vcpu_count": 2, "mem_size_mib": 1024, "smt": False},
        "network-interfaces": [
            {"iface_id": "eth0", "host_dev_name": "tap-web", "guest_mac": "06:00:ac:10:00:0a"}
        ],
    }


def test_a_vm_with_the_least_has_neither_initrd_nor_network_card() -> None:
    document = config(PLAIN, PLAIN_BOOT)
    assert document["boot-source"] == {
        "kernel_image_path": "../../images/bookworm/aa/vmlinux",
        "boot_args": "quiet",
    }
    assert [drive["path_on_host"] for drive in document["drives"]] == ["root.ext4"]
    assert document["network-interfaces"] == []


def test_the_command_line_leaves_the_root_to_firecracker() -> None:
    for machine, boot in ((WEB, WEB_BOOT), (PLAIN, PLAIN_BOOT)):
        assert "root=" not in config(machine, boot)["boot-source"]["boot_args"]


def test_an_odd_number_of_processors_is_taken_because_they_are_no_threads_of_each_other() -> None:
    assert config(WEB, replace(WEB_BOOT, vcpus=3))["machine-config"] == {
        "vcpu_count": 3,
        "mem_size_mib": 1024,
        "smt": False,
    }


def test_the_text_is_sorted_and_ends_in_a_newline() -> None:
    text = firecracker.config(WEB, WEB_BOOT)
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"


def test_the_table_of_the_api_refuses_what_firecracker_would() -> None:
    document = config(PLAIN, PLAIN_BOOT)
    document["drives"][0]["image_type"] = "raw"
    with pytest.raises(ValidationError):
        Draft202012Validator(CONFIG).validate(document)


def test_boot_writes_the_same_configuration_where_it_uses_the_tap_device() -> None:
    session = Session(kvm=True, network="tap")
    assert firecracker.session_files(WEB, WEB_BOOT, session) == {
        "firecracker.json": firecracker.config(WEB, WEB_BOOT)
    }


def test_boot_names_the_socket_of_the_api_and_its_configuration() -> None:
    options = list(firecracker.arguments(WEB, WEB_BOOT, Session(kvm=True, network="tap")))
    assert options == [("--api-sock", "run/api.sock"), ("--config-file", "run/firecracker.json"), ()]


def test_what_only_says_why_not_is_no_machine_to_firecracker() -> None:
    document = json.loads(firecracker.refusal("it reads raw disks only"))
    assert document == {"refused": "Firecracker can't start this VM: it reads raw disks only"}
    assert not document.keys() & CONFIG["properties"].keys()
    with pytest.raises(ValidationError):
        Draft202012Validator({"required": CONFIG["required"]}).validate(document)
