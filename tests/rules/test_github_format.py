"""Workflow commands: one line for each finding, and nothing in a name that the runner obeys."""

import re
from dataclasses import replace

from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.formats.github import format_github
from kfgcp.rules.report import Report, Row
from kfgcp.spec.source_map import Location


def test_each_finding_is_an_annotation_of_its_line(report: Report) -> None:
    assert format_github(report).splitlines() == [
        "::error file=pipelines/churn.py,line=31,title=kfgcp K101::task for-loop-1 loops over"
        " artifacts (error: gke; warning: prod)%0ALoop over their URIs.",
        "::warning file=pipelines/churn.py,line=7,title=kfgcp R101::component train runs the image"
        " python:3.12 (gke, prod)%0APin the image.",
        "::warning title=kfgcp R101::component test runs the image python:3.11 (gke, prod)%0APin"
        " the image.",
        "::notice title=kfgcp V201::not judged: the memory is known only at run time (prod)",
        "::notice title=kfgcp check::gke: kfgcp does not know version 2.19",
    ]


def test_a_report_without_findings_has_no_commands() -> None:
    assert format_github(Report("churn", "sha256:1f", [], [])) == ""


def test_properties_and_messages_have_the_escapes_of_the_toolkit(report: Report) -> None:
    finding = RuleFinding("K101", Severity.NOTE, "50%: a,b::c")
    row = Row(finding, {"gke": Severity.NOTE}, Location("a,b:c%.py", 1))

    text = format_github(replace(report, rows=[row], notes=[]))

    assert text == ("::notice file=a%2Cb%3Ac%25.py,line=1,title=kfgcp K101::50%25: a,b::c (gke)\n")


def test_a_hostile_name_adds_no_line_and_no_command(hostile_report: Report) -> None:
    lines = format_github(hostile_report).split("\n")

    # The finding, the note, and the end of the text.
    assert len(lines) == 3
    assert [line[:8] for line in lines] == ["::error ", "::notice", ""]
    for line in lines:
        assert not re.search(r"[\x00-\x08\x0a-\x1f\u202e]", line)
    file_property = lines[0].partition(",")[0]
    assert ":" not in file_property.removeprefix("::error file=")
