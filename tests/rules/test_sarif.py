"""SARIF files: valid by the standard's schema, with the lines and levels that tools show."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest

from json_types import JsonDict
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.formats.sarif import format_sarif
from kfgcp.rules.general import general_rules
from kfgcp.rules.report import Report, Row, Suppression
from kfgcp.spec.source_map import Location

SCHEMA = Path(__file__).parent / "sarif" / "sarif-schema-2.1.0.json"


@pytest.fixture(scope="session")
def validator() -> Any:
    return jsonschema.Draft4Validator(json.loads(SCHEMA.read_text()))


def read_run(report: Report) -> JsonDict:
    log = json.loads(format_sarif(report))
    return cast(dict[str, Any], log["runs"][0])


def finding_at(file: str, line: int = 3) -> Row:
    finding = RuleFinding("K101", Severity.ERROR, "task a loops over artifacts")
    return Row(finding, {"gke": Severity.ERROR}, Location(file, line))


def uri_of(report: Report, file: str) -> str:
    result = read_run(replace(report, rows=[finding_at(file)]))["results"][0]
    location = result["locations"][0]["physicalLocation"]
    return str(location["artifactLocation"]["uri"])


def test_a_report_is_valid(report: Report, validator: Any) -> None:
    validator.validate(json.loads(format_sarif(report)))


def test_a_report_with_all_rules_is_valid(report: Report, validator: Any) -> None:
    validator.validate(json.loads(format_sarif(replace(report, rules=general_rules()))))


def test_an_empty_report_is_valid(validator: Any) -> None:
    log = json.loads(format_sarif(Report("churn", "sha256:1f", [], [])))

    validator.validate(log)
    assert log["runs"][0]["results"] == []


def test_hostile_names_are_valid(hostile_report: Report, validator: Any) -> None:
    text = format_sarif(hostile_report)

    validator.validate(json.loads(text))
    assert text.isascii()


def test_the_validator_refuses_what_is_not_sarif(report: Report, validator: Any) -> None:
    log = json.loads(format_sarif(report))
    log["runs"][0]["results"][0]["level"] = "fatal"

    assert not validator.is_valid(log)


def test_a_finding_has_its_level_line_and_task(report: Report) -> None:
    result = read_run(report)["results"][0]

    assert result["ruleId"] == "K101"
    assert result["level"] == "error"
    assert result["kind"] == "fail"
    assert result["message"]["text"] == (
        "task for-loop-1 loops over artifacts (error: gke; warning: prod). Loop over their URIs."
    )
    location = result["locations"][0]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "pipelines/churn.py"},
        "region": {"startLine": 31},
    }
    assert location["logicalLocations"][0] == {"kind": "task", "fullyQualifiedName": "for-loop-1"}


def test_not_judged_is_open_and_has_no_level(report: Report) -> None:
    """SARIF 2.1.0, 3.27.10: a kind other than "fail" has the level "none"."""
    results = read_run(report)["results"]

    result = results[3]
    assert result["ruleId"] == "V201"
    assert (result["kind"], result["level"]) == ("open", "none")
    assert result["locations"] == []


def test_a_comment_is_a_suppression_in_the_source(report: Report) -> None:
    result = read_run(report)["results"][4]

    assert result["suppressions"] == [
        {
            "kind": "inSource",
            "status": "accepted",
            "justification": "the index is public",
            "location": {
                "physicalLocation": {
                    "artifactLocation": {"uri": "pipelines/churn.py"},
                    "region": {"startLine": 6},
                }
            },
        }
    ]


def test_a_reason_in_kfgcp_toml_is_an_external_suppression(report: Report) -> None:
    suppressed = replace(report.suppressed[0], suppression=Suppression("public", "kfgcp.toml"))

    result = read_run(replace(report, suppressed=[suppressed]))["results"][4]

    assert result["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "public"}
    ]


def test_all_results_say_whether_they_are_suppressed(report: Report) -> None:
    """SARIF 2.1.0, 3.27.23: the property is in all results of a run, or in none."""
    counts = [len(result["suppressions"]) for result in read_run(report)["results"]]

    assert counts == [0, 0, 0, 0, 1]


def test_results_point_at_their_rules(report: Report) -> None:
    run = read_run(replace(report, rules=general_rules()))

    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_a_rule_has_its_text_without_placeholders(report: Report) -> None:
    rules = read_run(replace(report, rules=general_rules()))["tool"]["driver"]["rules"]

    rule = next(rule for rule in rules if rule["id"] == "R101")
    assert rule["name"] == "ImageWithoutVersion"
    assert rule["defaultConfiguration"] == {"level": "warning"}
    assert "IMAGE" in rule["shortDescription"]["text"]
    assert "{" not in rule["shortDescription"]["text"]
    assert rule["fullDescription"]["text"].startswith("An image without a tag has the tag latest")


def test_notes_about_the_check_are_notifications(report: Report) -> None:
    notifications = read_run(report)["invocations"][0]["toolConfigurationNotifications"]

    assert notifications == [
        {"level": "note", "message": {"text": "gke: kfgcp does not know version 2.19"}}
    ]


def test_each_pipeline_is_a_category_of_its_own(report: Report) -> None:
    assert read_run(report)["automationDetails"] == {"id": "kfgcp/churn/"}


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("my pipelines/churn.py", "my%20pipelines/churn.py"),
        ("a#b?c.py", "a%23b%3Fc.py"),
        ("100%.py", "100%25.py"),
        ("äpfel.py", "%C3%A4pfel.py"),
        ("/data/churn.py", "file:///data/churn.py"),
        ("caf\udce9.py", "caf%E9.py"),
    ],
)
def test_a_file_is_a_uri(report: Report, file: str, uri: str) -> None:
    assert uri_of(report, file) == uri


def test_messages_have_neither_placeholders_nor_links(report: Report) -> None:
    """SARIF 2.1.0, 3.11.5 and 3.11.6."""
    finding = RuleFinding("K101", Severity.ERROR, "input {0} is [here](https://example.com)")

    result = read_run(replace(report, rows=[Row(finding, {"gke": Severity.ERROR})]))["results"][0]

    text = result["message"]["text"]
    assert text == "input {{0}} is [here] (https://example.com) (gke)"
