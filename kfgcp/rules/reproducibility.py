"""Rules about what makes a second run differ from the first one."""

from __future__ import annotations

from kfgcp.rules.contexts import ComponentContext
from kfgcp.rules.rule import Match, Severity, Target, component_rule


@component_rule(
    "R101",
    Severity.NOTE,
    "{component} runs the image {image}, whose tag may be moved to another image",
    hint="Pin the image by its digest: IMAGE@sha256:…",
)
def image_without_digest(context: ComponentContext, target: Target) -> Match:
    """A tag is a name that can be moved; a digest is the content (OCI image specification)."""
    container = context.container
    if container is None or "{{$" in container.image:
        return False
    return False if "@sha256:" in container.image else {"image": container.image}
