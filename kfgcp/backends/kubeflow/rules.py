"""All that `kfgcp check` knows of Kubeflow Pipelines, as rules.

K1xx        rules_refused      what no server runs, or no server since a release
K2xx        rules_newer        what only newer servers run
K24x, K34x  rules_settings     settings for the cluster that some or all servers ignore
K3xx        rules_differences  what servers do in another way, or ignore
"""

from __future__ import annotations

from functools import cache

from kfgcp.rules.rule import Rule, rules_of, sorted_rules


@cache
def kubeflow_rules() -> tuple[Rule, ...]:
    """Return the rules of the family K, sorted by their ids."""
    from kfgcp.backends.kubeflow import (
        rules_differences,
        rules_newer,
        rules_refused,
        rules_settings,
    )

    modules = (rules_refused, rules_newer, rules_settings, rules_differences)
    return sorted_rules(rule for module in modules for rule in rules_of(module))
