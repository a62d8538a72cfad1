"""Where an image in the store comes from, as a statement that others can sign and check."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from bangerbuild import identities
from bangerbuild.bill import provenance as statements
from bangerbuild.errors import StoreError
from bangerbuild.model import StepId

if TYPE_CHECKING:
    from bangerbuild.commands.image_list import StoredImage
    from bangerbuild.store import Store


def provenance(image: StoredImage, store: Store) -> str:
    """An in-toto statement about an image, in JSON. The whole image is read for its SHA-256.

    Raises:
        StoreError: the image can't be read.
    """
    recipe = store.records[f"{StepId.image(image.name, 'rootfs')}@{image.fingerprint}"].recipe
    try:
        with (store.path / image.artifact).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise StoreError(f"'{image.artifact}' can't be read: {(err.strerror or str(err)).lower()}") from err
    found = statements.statement(
        artifact=image.artifact,
        sha256=sha256,
        fingerprint=image.fingerprint,
        parameters=_shown({**recipe.fields, "source": image.source}),
        sources=recipe.sources,
        inputs=recipe.inputs,
        tools=recipe.tools,
        pin=_shown(dict(image.pin)),
    )
    return statements.text(found)


def _shown(value: Any) -> Any:  # noqa: ANN401  # JSON
    """A value without names and passwords in its addresses."""
    if isinstance(value, str):
        return identities.removed(value)
    if isinstance(value, dict):
        return {key: _shown(one) for key, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, (list, tuple)) else value
