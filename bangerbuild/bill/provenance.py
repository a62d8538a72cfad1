"""Where an image comes from, as an in-toto statement (v1) with a SLSA provenance predicate (v1), in JSON.

It is told from what the store remembers of the run: nothing in it is a time, a host or a user, so the same
recipe and bytes give the same statement. It is not signed: who signs it says who has built the image.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:bangerbuild:image:v1"
"""What the parameters mean: keys of `[image.NAME]`, as docs/manifest.md has them."""
BUILDER = "urn:bangerbuild:local"
OWN_DIGEST = "bangerbuild"
"""The name of digests that are no SHA-256 of a file: fingerprints, and digests of trees and sparse files."""


def statement(  # noqa: PLR0913  # what is remembered of a run, each by its name
    *,
    artifact: str,
    sha256: str,
    fingerprint: str,
    parameters: Mapping[str, Any],
    sources: Mapping[str, str],
    inputs: Mapping[str, str],
    tools: Mapping[str, str],
    pin: Mapping[str, Any],
) -> dict[str, Any]:
    """The statement.

    Args:
        artifact: the path of the image in its store.
        sha256: of its bytes.
        fingerprint: of its recipe.
        parameters: the keys of the manifest that decided its bytes.
        sources: digests of what was read, by role.
        inputs: fingerprints of what it stands on, by step.
        tools: versions of what made it.
        pin: what its source stood for, as the lock file has it; empty for what lies on the host.
    """
    read = [{"name": role, "digest": {OWN_DIGEST: digest}} for role, digest in sorted(sources.items())]
    below = [{"name": step, "digest": {OWN_DIGEST: print_}} for step, print_ in sorted(inputs.items())]
    return {
        "_type": STATEMENT,
        "subject": [{"name": artifact, "digest": {"sha256": sha256}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"image": dict(parameters), "lock": dict(pin)},
                "internalParameters": {"fingerprint": fingerprint, "tools": dict(tools)},
                "resolvedDependencies": [*read, *below],
            },
            "runDetails": {"builder": {"id": BUILDER}},
        },
    }


def text(found: dict[str, Any]) -> str:
    """A statement as it is printed: keys in their order, so that the same one is the same bytes."""
    return json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False)
