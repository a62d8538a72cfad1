"""Push built images to the registry that the manifest names, and have the lock file say what was built.

What the lock file holds is what makes a fetched image trusted, and only this writes it. Entries of what is no
longer declared go; those that other machines pushed of the same recipe, with other tools, stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild import pipeline
from bangerbuild.cache_registry import upload
from bangerbuild.cache_registry.artifact import sha256
from bangerbuild.cache_registry.blobs import Blobs
from bangerbuild.cache_registry.repository import Repository
from bangerbuild.cache_registry.upload import Built
from bangerbuild.errors import BangerError, LockFileError, UsageError, few, readable_size
from bangerbuild.model import StepId, Verb
from bangerbuild.model.fingerprint import portable
from bangerbuild.model.image_cache import LockedImage
from bangerbuild.model.recipe import DESTROYED, host_tools
from bangerbuild.resolving import lockfile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.model import Action, Json, Plan
    from bangerbuild.pipeline import Loaded
    from bangerbuild.resolving.lockfile import LockFile
    from bangerbuild.store import Store


@dataclass(frozen=True)
class PushedArtifact:
    """One artifact that a registry has now."""

    id: str
    """Of the step."""
    reference: str
    digest: str
    """Of the description of what was built, as the lock file has it."""
    size_bytes: int
    was_there: bool

    def to_json(self) -> dict[str, Json]:
        """As `push --json` shows it."""
        return {
            "id": self.id,
            "reference": self.reference,
            "digest": self.digest,
            "size_bytes": self.size_bytes,
            "result": "kept" if self.was_there else "pushed",
        }

    def line(self) -> str:
        """The same, to read."""
        verb = "keep" if self.was_there else "push"
        return f"  {verb:<7} {self.id}  {self.reference}, {readable_size(self.size_bytes)}"


def target(loaded: Loaded) -> Repository:
    """Where images are pushed to.

    Raises:
        UsageError: the manifest does not say.
    """
    address = loaded.manifest.cache.push
    if address is None:
        hint = 'write push = "docker://registry.example/team/images", under [cache]'
        raise UsageError("the manifest names no registry to push to", hint=hint)
    return Repository.parse(address)


def push(
    loaded: Loaded, names: Sequence[str], tell: Callable[[PushedArtifact], None]
) -> tuple[PushedArtifact, ...]:
    """Push images that are built as they are declared.

    Args:
        loaded: the manifest.
        names: of images; empty: all.
        tell: is told of each artifact when the registry has it.

    Raises:
        UsageError: an image is not declared, or the manifest names no registry.
        LockFileError: the lock file can't be used, or has another digest for what is here.
        BangerError: an image is not built as it is declared.
        SourceError, ToolError: the registry fails; what was pushed before is in the lock file.
    """
    repository = target(loaded)
    wanted = pipeline.of_images(loaded, names)
    plan, opened = pipeline.look(wanted, previews=False)
    targets = frozenset(wanted.request.targets)
    _refuse_unbuilt([action for action in plan.actions if action.id in targets])
    path = lockfile.path_beside(loaded.manifest)
    before = lockfile.read(path)
    pushing = _Pushing(opened, repository, before.built(), {}, _portables(plan))
    done: list[PushedArtifact] = []
    try:
        for action in plan.actions:
            if action.id in targets:
                done.append(pushing.push(action))
                tell(done[-1])
    finally:
        after = pushing.lock_then(before)
        if after != before:
            lockfile.write(path, before, after)
    return tuple(done)


def _refuse_unbuilt(actions: Sequence[Action]) -> None:
    unbuilt = [action.id for action in actions if action.verb is not Verb.KEEP]
    if unbuilt:
        options = " ".join(f"--target {step_id}" for step_id in unbuilt)
        raise BangerError(
            f"not built as it is declared: {few(unbuilt)}",
            hint=f"bangerbuild apply {options}",
        )


def _portables(plan: Plan) -> dict[str, str]:
    """The fingerprints of what is declared, but for the versions of tools; by step."""
    found: dict[str, str] = {}
    for action in plan.actions:
        found[action.id] = portable(action.recipe, found)
    return found


@dataclass
class _Pushing:
    opened: Store
    repository: Repository
    locked: Mapping[str, Mapping[str, LockedImage]]
    entries: dict[tuple[str, str], LockedImage]
    """Of what the registry has now."""
    recipes: Mapping[str, str]
    """By step, see `_portables`."""

    def push(self, action: Action) -> PushedArtifact:
        step_id = StepId(action.id)
        built = Built(action.step.kind, action.fingerprint, self._files(action), self._facts(action))
        description = upload.describe(built)
        tag = self.repository.of(step_id.name, action.fingerprint)
        self._refuse_another(action, sha256(description.document()))
        pushed = upload.push(built, description, tag, step_id.part, Blobs())
        entry = LockedImage(step_id.part, pushed.digest, self.recipes[action.id], host_tools(action.recipe))
        self.entries[step_id.name, action.fingerprint] = entry
        return PushedArtifact(action.id, str(tag), pushed.digest, pushed.size_bytes, pushed.was_there)

    def _files(self, action: Action) -> tuple[Path, ...]:
        return tuple(self.opened.path / artifact for artifact in action.artifacts)

    def _facts(self, action: Action) -> dict[str, Json]:
        record = self.opened.record(action.id, action.fingerprint)
        facts = record.facts if record else {}
        return {key: value for key, value in facts.items() if key != DESTROYED}

    def _refuse_another(self, action: Action, digest: str) -> None:
        """Refuse to push what is not what somebody has pushed for the same fingerprint."""
        name = StepId(action.id).name
        known = self.locked.get(name, {}).get(action.fingerprint)
        if known and known.digest != digest:
            raise LockFileError(
                f"'{action.id}' is not what bangerbuild.lock says was built of the same recipe",
                hint=f"pull it; or, if what is here is right, remove [{lockfile.CACHE}.{name}."
                f"{action.fingerprint}] there",
            )

    def lock_then(self, before: LockFile) -> LockFile:
        """What the lock file has to say: of what was pushed now, nothing that is of another recipe."""
        recipes = {(name, one.part): one.recipe for (name, _), one in self.entries.items()}
        kept = {
            key: one
            for key, one in before.pushed.items()
            if recipes.get((key[0], one.part), one.recipe) == one.recipe
        }
        return replace(before, pushed={**kept, **self.entries})
