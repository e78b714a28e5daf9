"""Rules about images of the project that no registry is known to have."""

from __future__ import annotations

from kfgcp.rules.contexts import ComponentContext
from kfgcp.rules.findings import Match, Severity
from kfgcp.rules.rule import Runner, Target, component_rule
from kfgcp.spec.unpinned_images import find_unpinned


@component_rule(
    "P130",
    Severity.ERROR,
    "the image {image} of {component} {reason}",
    hint="{action}",
    needs_target=True,
)
def unpinned_image(context: ComponentContext, target: Target) -> Match:
    """A service pulls each image from a registry, and only images.lock knows which images were
    pushed (docs/guides/images.md). The hint has the command: kfgcp images push NAME."""
    return _match(context, target) if target.runner is Runner.SERVICE else False


@component_rule(
    "P131",
    Severity.NOTE,
    "the image {image} of {component} {reason}: {env} has an address of this machine, where a"
    " stand-in runs it, but a service behind this address would refuse it",
    hint="{action}",
    needs_target=True,
)
def unpinned_image_on_stand_in(context: ComponentContext, target: Target) -> Match:
    """A stand-in runs pipelines on this machine, where nothing has to be pulled
    (docs/guides/images.md)."""
    return _match(context, target) if target.runner is Runner.STAND_IN else False


def _match(context: ComponentContext, target: Target) -> Match:
    if context.container is None:
        return False
    problem = find_unpinned(context.container.image, target.image_repositories)
    if problem is None:
        return False
    return {"image": problem.image, "reason": problem.reason, "action": problem.hint}
