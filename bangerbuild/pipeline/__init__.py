"""The whole flow: a manifest becomes steps, steps a graph, graph and store a plan, and the plan is executed.

Read `loading`, `looking` and `applying` first, in this order.
"""

from bangerbuild.pipeline.applying import Applied, apply, pull
from bangerbuild.pipeline.belonging import orphans, strangers, to_be_renamed, undeclared
from bangerbuild.pipeline.loading import (
    NAME_STORE_HINT,
    Loaded,
    expanded,
    load,
    load_image,
    load_request,
    load_to_read,
    load_value,
    narrowed,
    of_images,
    places,
    refuse_without_node,
)
from bangerbuild.pipeline.locking import lock, recover
from bangerbuild.pipeline.looking import known_pins, look, look_leniently, plan
from bangerbuild.pipeline.reviewing import check_reviewed, keep_key, saved_plan

__all__ = [
    "NAME_STORE_HINT",
    "Applied",
    "Loaded",
    "apply",
    "check_reviewed",
    "expanded",
    "keep_key",
    "known_pins",
    "load",
    "load_image",
    "load_request",
    "load_to_read",
    "load_value",
    "lock",
    "look",
    "look_leniently",
    "narrowed",
    "of_images",
    "orphans",
    "places",
    "plan",
    "pull",
    "recover",
    "refuse_without_node",
    "saved_plan",
    "strangers",
    "to_be_renamed",
    "undeclared",
]
