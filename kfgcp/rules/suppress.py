"""Findings that the user does not want to see, with the reasons that the user wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from kfgcp.rules.report import Row, Suppression
from kfgcp.settings import did_you_mean
from kfgcp.spec.source_map import Comment


def suppress(
    rows: Iterable[Row], comments: Sequence[Comment], ignored: Mapping[str, Suppression]
) -> tuple[list[Row], list[Row]]:
    """Return the rows to show, and the suppressed ones with their reasons.

    Args:
        rows: what was found.
        comments: the comments in the files of the pipeline. Those without a reason have no effect.
        ignored: the rules that the project ignores, by their ids.
    """
    by_place: dict[tuple[str, str, int], Suppression] = {}
    for comment in comments:
        if comment.reason:
            reason = Suppression(comment.reason, str(comment.location))
            for rule, line in product(comment.rules, comment.lines):
                by_place[rule, comment.location.file, line] = reason
    shown: list[Row] = []
    suppressed: list[Row] = []
    for row in rows:
        suppression = ignored.get(row.finding.rule)
        if suppression is None and row.location is not None:
            suppression = by_place.get((row.finding.rule, row.location.file, row.location.line))
        if suppression is None:
            shown.append(row)
        else:
            suppressed.append(replace(row, suppression=suppression))
    return shown, suppressed


def notes_about(comments: Iterable[Comment], rule_ids: Iterable[str]) -> list[str]:
    """Return a line for each comment that suppresses nothing: it has no reason or no such rule.

    Args:
        comments: the comments in the files of the pipeline.
        rule_ids: the ids of all rules.
    """
    ids = frozenset(rule_ids)
    notes = []
    for comment in comments:
        words = ", ".join(comment.rules)
        if not comment.reason:
            notes.append(
                f"{comment.location}: the comment does not suppress {words}, because it gives no"
                f" reason. Write: # kfgcp: {words} because REASON"
            )
        for rule in comment.rules:
            if rule not in ids:
                note = f"{comment.location}: there is no rule {rule}"
                suggestion = suggest_rule(rule, ids).strip()
                notes.append(f"{note}. {suggestion}" if suggestion else note)
    return notes


def suggest_rule(word: str, rule_ids: Iterable[str]) -> str:
    """Return a sentence that names the rule with the most similar id, "" when none is similar.

    Example:
        >>> suggest_rule("v203", ["K101", "V203"]), suggest_rule("secrets", ["V203"])
        ("Did you mean 'V203'? ", '')
    """
    return did_you_mean(word.upper(), sorted(rule_ids))
