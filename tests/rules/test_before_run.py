"""What rules found in a run that is about to start."""

import pytest

from kfgcp.errors import Unsupported
from kfgcp.rules.before_run import refuse_errors, warning_lines
from kfgcp.rules.rule import RuleFinding, Severity

WARNING = RuleFinding("V301", Severity.WARNING, "component a is odd")
NOTE = RuleFinding("V307", Severity.NOTE, "component a is common")
ERROR = RuleFinding("V103", Severity.ERROR, "component a is wrong", "Change it.")


def test_warnings_are_lines_and_notes_are_not() -> None:
    assert warning_lines([NOTE, WARNING, ERROR]) == ["component a is odd (V301)"]
    assert warning_lines([WARNING], ignored=["V301"]) == []


def test_many_warnings_of_one_rule_are_counted() -> None:
    many = [
        RuleFinding("V301", Severity.WARNING, f"component {number} is odd") for number in range(5)
    ]

    assert warning_lines([*many, RuleFinding("V302", Severity.WARNING, "another")]) == [
        "component 0 is odd (V301)",
        "component 1 is odd (V301)",
        "component 2 is odd (V301)",
        "another (V302)",
        "2 more warnings of V301: see kfgcp check",
    ]


def test_the_first_error_refuses_the_run() -> None:
    refuse_errors([WARNING, NOTE])
    refuse_errors([ERROR], ignored=["V103"])

    with pytest.raises(Unsupported) as caught:
        refuse_errors([ERROR])
    assert caught.value.message == "Component a is wrong (V103)."
    assert caught.value.hint == "Change it."
    with pytest.raises(Unsupported, match=r"^Component a is wrong \(V103\), and 1 more: see"):
        refuse_errors([ERROR, ERROR])
