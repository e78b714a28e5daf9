"""All rules that are true everywhere, and the choice of rules by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from kfgcp.errors import UsageError
from kfgcp.rules.rule import Rule, rules_of, sorted_rules
from kfgcp.rules.suppress import suggest_rule


@cache
def general_rules(*, with_translation: bool = True) -> tuple[Rule, ...]:
    """Return the rules of the families S, P, R and Y, sorted by their ids.

    Args:
        with_translation: include the rules about GPUs and secrets that must be translated. Most
            pipelines ask for none, see `kfgcp.spec.wire.may_need_translation`, and the modules of
            these rules take time to import.
    """
    from kfgcp.rules import (
        images,
        portability,
        reproducibility,
        safety,
        spec_control_flow,
        spec_document,
        spec_values,
    )

    modules = [
        spec_control_flow,
        spec_document,
        spec_values,
        images,
        portability,
        reproducibility,
        safety,
    ]
    if with_translation:
        from kfgcp.rules import translation

        modules.append(translation)
    return sorted_rules(rule for module in modules for rule in rules_of(module))


def choose_rules(
    rules: Iterable[Rule], select: Sequence[str] = (), ignore: Sequence[str] = ()
) -> list[Rule]:
    """Return the rules that ids and families choose.

    Args:
        rules: all rules.
        select: ids (`V203`) and letters of families (`V`); all rules when empty.
        ignore: ids and letters of the rules to leave out.

    Raises:
        UsageError: no rule has this id, and no family this letter.
    """
    all_rules = list(rules)
    for word in tuple(select) + tuple(ignore):
        _require_rule(all_rules, word)
    chosen = []
    for rule in all_rules:
        is_selected = not select or rule.id in select or rule.family in select
        is_ignored = rule.id in ignore or rule.family in ignore
        if is_selected and not is_ignored:
            chosen.append(rule)
    return chosen


def _require_rule(rules: Sequence[Rule], word: str) -> None:
    ids = [rule.id for rule in rules]
    families = sorted({rule.family for rule in rules})
    if word in ids or word in families:
        return
    raise UsageError(
        f"There is no rule {word!r}.",
        hint=f"{suggest_rule(word, ids)}Give an id, such as V203, or one of the families"
        f" {', '.join(families)}. docs/reference/rules.md lists all rules.",
    )
