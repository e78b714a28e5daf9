"""What Vertex AI Pipelines refuses, limits, ignores or does differently.

    V1xx  rules_refused.py      refused
    V2xx  rules_limits.py       limits of the service
    V3xx  rules_differences.py  ignored, done in another way, or not documented

AcceleratorType, EnvVar and PipelineJob in the sources of the rules are types of the API
(google.cloud.aiplatform_v1.types). Numbers with `#` are issues and pull requests of Kubeflow
Pipelines (kubeflow/pipelines).
"""

from __future__ import annotations

from functools import cache

from kfgcp.backends.vertex import rules_differences, rules_limits, rules_refused
from kfgcp.rules.rule import Rule, rules_of, sorted_rules


@cache
def vertex_rules() -> tuple[Rule, ...]:
    """Return the rules of Vertex AI, sorted by their ids."""
    modules = (rules_refused, rules_limits, rules_differences)
    return sorted_rules(rule for module in modules for rule in rules_of(module))
