"""Rules about what ties a pipeline to one place."""

from __future__ import annotations

from kfgcp.rules.contexts import ComponentContext
from kfgcp.rules.rule import Match, Severity, Target, component_rule
from kfgcp.spec.graph import OtherExecutor


@component_rule(
    "P101",
    Severity.NOTE,
    "{component} is a {kind} executor, which only Vertex AI runs",
    hint="Use a container component to run it elsewhere.",
)
def vertex_executor(context: ComponentContext, target: Target) -> Match:
    """Only Vertex AI has customJob and resolver executors (argocompiler/dag.go refuses them)."""
    executor = context.component.executor
    return {"kind": executor.kind} if isinstance(executor, OtherExecutor) else False
