"""Plans as tests of what is printed want them: made by hand, with an action of each kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.model import Action, FileDiff, Plan, Reason, ReasonCode, Recipe, Verb
from tests.fakes import FakeDisk

if TYPE_CHECKING:
    from bangerbuild.model import Json

RECIPE = Recipe("fake", {}, {}, {}, {})


def action(
    step_id: str,
    verb: Verb,
    *reasons: Reason,
    diffs: tuple[FileDiff, ...] = (),
    artifacts: tuple[str, ...] = ("vms/web/root.cow",),
    needs: tuple[str, ...] = (),
) -> Action:
    disk = step_id.removesuffix(".patch") if step_id.endswith(".patch") else None
    step = FakeDisk(step_id, inputs=needs, changes=disk)
    return Action(step, verb, reasons, RECIPE, "f00d", artifacts, diffs=diffs)


def because(code: ReasonCode, **facts: Json) -> Reason:
    return Reason(code, facts)


def changed(key: str, **sides: Json) -> Reason:
    return because(ReasonCode.RECIPE_CHANGED, key=key, **sides)


MISSING = because(ReasonCode.MISSING)
IN_USE = because(ReasonCode.IN_USE, holder="qemu (process 7)")
WROTE = because(ReasonCode.GUEST_WROTE)
DIFF = FileDiff(
    "/etc/resolv.conf",
    "--- /etc/resolv.conf\n+++ /etc/resolv.conf\n@@ -1 +1 @@\n-nameserver 1.1.1.1\n+nameserver 9.9.9.9\n",
)

PLAN = Plan(
    Path("/home/me/build"),
    (
        action("image.deb.rootfs", Verb.KEEP, artifacts=("images/deb/f00d/rootfs.ext4",)),
        action("vm.db.root", Verb.CREATE, MISSING, needs=("image.deb.rootfs",)),
        action(
            "vm.web.root.patch",
            Verb.UPDATE,
            changed("network.dns", old=["1.1.1.1"], new=["9.9.9.9"]),
            diffs=(DIFF, FileDiff("/root/.ssh/id", note="changes (contents not shown)")),
        ),
        action(
            "vm.web.work",
            Verb.GROW,
            because(ReasonCode.SIZE_GROW, old=16 << 30, new=32 << 30),
            artifacts=("vms/web/work.ext4",),
        ),
        action(
            "vm.old.root",
            Verb.BLOCKED,
            because(ReasonCode.INPUT_CHANGED, id="image.deb.rootfs"),
            WROTE,
            artifacts=("vms/old/root.cow",),
        ),
    ),
)
