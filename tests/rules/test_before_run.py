"""What rules found in a run that is about to start."""

from dataclasses import replace

import pytest

from kfgcp.errors import Unsupported
from kfgcp.rules.before_run import refuse_errors, warning_lines
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.ignored import Ignored, finding_place

WARNING = RuleFinding("V301", Severity.WARNING, "component a is odd")
NOTE = RuleFinding("V307", Severity.NOTE, "component a is common")
ERROR = RuleFinding("V103", Severity.ERROR, "component a is wrong", "Change it.")


def test_warnings_are_lines_and_notes_are_not() -> None:
    assert warning_lines([NOTE, WARNING, ERROR]) == ["component a is odd (V301)"]
    assert warning_lines([WARNING], Ignored(frozenset({"V301"}))) == []


def test_a_comment_silences_the_finding_at_its_place_and_no_other() -> None:
    """A task may have several findings of a rule, all in its line."""
    train = replace(WARNING, task="train", message="task train is odd")
    same_place = replace(train, message="task train is very odd")
    test = replace(WARNING, task="test", message="task test is odd")
    ignored = Ignored(places=frozenset({finding_place(train)}))

    lines = warning_lines([train, same_place, test, replace(train, rule="V302")], ignored)

    assert lines == ["task test is odd (V301)", "task train is odd (V302)"]
    with pytest.raises(Unsupported, match=r"^Task test is wrong \(V103\)\.$"):
        refuse_errors(
            [
                replace(ERROR, task="train"),
                replace(ERROR, task="test", message="task test is wrong"),
            ],
            Ignored(places=frozenset({finding_place(replace(ERROR, task="train"))})),
        )


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
    refuse_errors([ERROR], Ignored(frozenset({"V103"})))

    with pytest.raises(Unsupported) as caught:
        refuse_errors([ERROR])
    assert caught.value.message == "Component a is wrong (V103)."
    assert caught.value.hint == "Change it."
    with pytest.raises(Unsupported, match=r"^Component a is wrong \(V103\), and 1 more: see"):
        refuse_errors([ERROR, ERROR])
