"""Rules about secrets, and about code that others can change."""

from __future__ import annotations

from kfgcp.rules.contexts import ComponentContext
from kfgcp.rules.rule import Match, Severity, Target, component_rule
from kfgcp.spec.credentials import has_password


@component_rule(
    "Y101",
    Severity.WARNING,
    "{component} has a password in the address of a package index",
    hint="Read the password from a secret when the task runs.",
)
def password_in_index(context: ComponentContext, target: Target) -> Match:
    """The PipelineSpec is stored by every backend, and shown to everyone who may see the run."""
    container = context.container
    if container is None:
        return False
    return any(has_password(word) for word in container.command)
