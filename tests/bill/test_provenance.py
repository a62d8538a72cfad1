"""Statements, judged by in-toto's own library."""

from __future__ import annotations

import json

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message

from bangerbuild.bill import provenance


def made() -> str:
    return provenance.text(
        provenance.statement(
            artifact="images/a/rootfs.ext4",
            sha256="0" * 64,
            fingerprint="f00d",
            parameters={"rootfs.size": 16},
            sources={"rootfs.tar": "11", "file": "22"},
            inputs={"image.base.rootfs": "33"},
            tools={"e2fsprogs": "1.47.0"},
            pin={},
        )
    )


def test_a_statement_is_one_of_in_toto_with_a_predicate_of_slsa() -> None:
    found = json_format.Parse(made(), Message())  # refuses unknown fields
    Statement.copy_from_pb(found).validate()
    predicate = json_format.ParseDict(json.loads(made())["predicate"], Provenance())
    names = [one.name for one in predicate.build_definition.resolved_dependencies]
    assert names == ["file", "rootfs.tar", "image.base.rootfs"]
    assert predicate.run_details.builder.id == "urn:bangerbuild:local"


def test_the_same_image_has_the_same_statement() -> None:
    assert made() == made()
