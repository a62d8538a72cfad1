"""The nouns: Step, Recipe, Action, Plan, Reason, Record; frozen values, and the Protocols around them.

A step says what it makes and from what. A recipe is all that decides the bytes. A record is what the store
remembers of a step that ran. An action is what a plan means to do about one step, and why.
"""

from bangerbuild.model.artifacts import ArtifactPath
from bangerbuild.model.content import NO_RECIPE, HostPath, Pin, Revealed, Secret, Source
from bangerbuild.model.host import Host
from bangerbuild.model.ids import StepId
from bangerbuild.model.plan import Action, Outcome, Plan, Relocation, Result
from bangerbuild.model.reason import Json, Reason, ReasonCode, Verb, would_fail
from bangerbuild.model.recipe import Recipe, Record
from bangerbuild.model.reporter import (
    OutputReporter,
    PlanReporter,
    Progress,
    Reporter,
    Said,
    Silent,
    Span,
    SpanKind,
    SpanReporter,
    phase,
    unheard,
    unseen,
)
from bangerbuild.model.step import Step
from bangerbuild.model.verdict import TO_MAKE, FileDiff, Preview, Situation, Verdict
from bangerbuild.model.workspace import View, Workspace

__all__ = [
    "NO_RECIPE",
    "TO_MAKE",
    "Action",
    "ArtifactPath",
    "FileDiff",
    "Host",
    "HostPath",
    "Json",
    "Outcome",
    "OutputReporter",
    "Pin",
    "Plan",
    "PlanReporter",
    "Preview",
    "Progress",
    "Reason",
    "ReasonCode",
    "Recipe",
    "Record",
    "Relocation",
    "Reporter",
    "Result",
    "Revealed",
    "Said",
    "Secret",
    "Silent",
    "Situation",
    "Source",
    "Span",
    "SpanKind",
    "SpanReporter",
    "Step",
    "StepId",
    "Verb",
    "Verdict",
    "View",
    "Workspace",
    "phase",
    "unheard",
    "unseen",
    "would_fail",
]
