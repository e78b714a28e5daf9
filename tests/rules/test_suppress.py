"""Findings that a comment or kfgcp.toml suppresses."""

import pytest

from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.report import Row, Suppression
from kfgcp.rules.suppress import notes_about, suppress
from kfgcp.spec.source_map import Comment, Location


def row_at(line: int | None, rule: str = "V203", file: str = "main.py") -> Row:
    finding = RuleFinding(rule, Severity.WARNING, "task train has a secret")
    location = Location(file, line) if line is not None else None
    return Row(finding, {"prod": Severity.WARNING}, location)


def comment_at(line: int, *rules: str, reason: str = "it is public", lines: int = 1) -> Comment:
    return Comment(rules or ("V203",), reason, Location("main.py", line), range(line, line + lines))


def test_a_comment_suppresses_its_rule_in_its_line() -> None:
    rows = [row_at(3), row_at(4), row_at(3, "V204"), row_at(3, file="other.py"), row_at(None)]

    shown, suppressed = suppress(rows, [comment_at(3)], {})

    assert shown == rows[1:]
    assert [row.suppression for row in suppressed] == [Suppression("it is public", "main.py:3")]


def test_a_comment_suppresses_several_rules_in_several_lines() -> None:
    rows = [row_at(3), row_at(5, "V204"), row_at(6)]

    shown, suppressed = suppress(rows, [comment_at(3, "V203", "V204", lines=3)], {})

    assert shown == rows[2:]
    assert len(suppressed) == 2


def test_a_comment_without_a_reason_has_no_effect_and_is_a_note() -> None:
    comments = [comment_at(3, reason="")]

    shown, suppressed = suppress([row_at(3)], comments, {})

    assert (len(shown), suppressed) == (1, [])
    assert notes_about(comments, ["V203"]) == [
        "main.py:3: the comment does not suppress V203, because it gives no reason. Write: #"
        " kfgcp: V203 because REASON"
    ]


def test_a_comment_with_an_unknown_rule_is_a_note() -> None:
    comments = [comment_at(3, "V203", "v102", "Z999")]

    assert notes_about(comments, ["V203", "V102", "K101"]) == [
        "main.py:3: there is no rule v102. Did you mean 'V102'?",
        "main.py:3: there is no rule Z999",
    ]


def test_a_comment_with_reason_and_rule_is_not_a_note() -> None:
    assert notes_about([comment_at(3)], ["V203"]) == []


@pytest.mark.parametrize("line", [3, None])
def test_a_project_ignores_a_rule_everywhere(line: int | None) -> None:
    ignored = {"V203": Suppression("we have no secrets", "kfgcp.toml")}

    shown, suppressed = suppress([row_at(line), row_at(line, "V204")], [], ignored)

    assert [row.finding.rule for row in shown] == ["V204"]
    assert suppressed[0].suppression == ignored["V203"]
    assert suppressed[0].location == row_at(line).location
