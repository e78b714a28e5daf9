"""The matrix in terminals of several widths."""

import re
from dataclasses import replace

import pytest

from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.formats.matrix import Line, display_width, layout, matrix
from kfgcp.rules.report import Report, Row
from kfgcp.rules.rule import Target
from kfgcp.spec.source_map import Location


def lines_of(report: Report, width: int | None) -> list[str]:
    return [text_of(line) for line in layout(matrix(report), width)]


def text_of(line: Line) -> str:
    return "".join(cell.text for cell in line)


def many_envs(report: Report, count: int) -> Report:
    names = [f"environment-{number}" for number in range(count)]
    severities = dict.fromkeys(names, Severity.ERROR)
    rows = [replace(report.rows[0], severities=severities)]
    return replace(report, rows=rows, targets=[Target(name, "vertex") for name in names])


def test_a_wide_terminal_has_all_columns(report: Report) -> None:
    assert lines_of(report, 160) == [
        "severity    rule  where                  finding                                        "
        "   gke      prod",
        "error       K101  pipelines/churn.py:31  task for-loop-1 loops over artifacts           "
        "   error    warning",
        "warning     R101  pipelines/churn.py:7   component train runs the image python:3.12     "
        "   warning  warning",
        "warning     R101                         component test runs the image python:3.11      "
        "   warning  warning",
        "not judged  V201                         not judged: the memory is known only at run"
        " time  -        not judged",
    ]


def test_a_terminal_of_80_has_the_line_below_the_message(report: Report) -> None:
    assert lines_of(report, 80) == [
        "rule  finding                                           gke      prod",
        "K101  task for-loop-1 loops over artifacts              error    warning",
        "      pipelines/churn.py:31",
        "R101  component train runs the image python:3.12        warning  warning",
        "      pipelines/churn.py:7",
        "R101  component test runs the image python:3.11         warning  warning",
        "V201  not judged: the memory is known only at run time  -        ?",
    ]


def test_a_terminal_of_60_wraps_messages(report: Report) -> None:
    assert lines_of(report, 60) == [
        "rule  finding                               gke      prod",
        "K101  task for-loop-1 loops over artifacts  error    warning",
        "      pipelines/churn.py:31",
        "R101  component train runs the image        warning  warning",
        "      python:3.12",
        "      pipelines/churn.py:7",
        "R101  component test runs the image         warning  warning",
        "      python:3.11",
        "V201  not judged: the memory is known only  -        ?",
        "      at run time",
    ]


def test_many_environments_make_paragraphs(report: Report) -> None:
    assert lines_of(many_envs(report, 6), 60) == [
        "error K101  pipelines/churn.py:31",
        "  task for-loop-1 loops over artifacts",
        "  environment-0, environment-1, environment-2,",
        "  environment-3, environment-4, environment-5",
    ]


def test_a_pipe_gets_one_line_for_each_finding(report: Report) -> None:
    long_message = RuleFinding("K101", Severity.ERROR, "word " * 100)
    rows = [Row(long_message, {"gke": Severity.ERROR}, Location("a/" * 100 + "a.py", 1))]

    lines = lines_of(replace(report, rows=rows), None)

    assert len(lines) == 2
    assert "…" not in lines[1]


def test_each_hint_is_there_once(report: Report) -> None:
    assert matrix(report).hints == ("K101: Loop over their URIs.", "R101: Pin the image.")


def test_rules_with_the_same_hint_share_it(report: Report) -> None:
    finding = RuleFinding("V301", Severity.NOTE, "the image is old", "Pin the image.")
    rows = (*report.rows, Row(finding, {"prod": Severity.NOTE}))

    assert matrix(replace(report, rows=rows)).hints[1] == "R101, V301: Pin the image."


def test_severities_have_their_severity_for_colors(report: Report) -> None:
    row = layout(matrix(report), 160)[1]

    colored = [(cell.text, cell.severity) for cell in row if cell.severity is not None]
    assert colored == [
        ("error", Severity.ERROR),
        ("error", Severity.ERROR),
        ("warning", Severity.WARNING),
    ]


def test_a_report_without_findings_has_no_lines() -> None:
    assert lines_of(Report("churn", "sha256:1f", [], []), 80) == []


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160])
@pytest.mark.parametrize("env_count", [1, 2, 3, 4, 6, 10])
def test_no_line_is_wider_than_the_terminal(report: Report, width: int, env_count: int) -> None:
    for line in lines_of(many_envs(report, env_count), width):
        assert display_width(line) <= width


def test_wide_characters_take_two_columns(report: Report) -> None:
    finding = RuleFinding("K101", Severity.ERROR, "コンポーネント 訓練 は 成果物 を 反復 します")
    rows = [Row(finding, {"gke": Severity.ERROR, "prod": Severity.ERROR}, None)]

    lines = lines_of(replace(report, rows=rows), 60)

    starts = {
        display_width(line[: line.index(word)])
        for line, word in zip(lines[:2], ("gke", "error"), strict=True)
    }
    assert len(starts) == 1


def test_a_long_path_keeps_its_file_and_line(report: Report) -> None:
    row = replace(report.rows[0], location=Location("deep/" * 40 + "churn.py", 31))

    line = lines_of(replace(report, rows=[row]), 160)[1]

    assert re.search(r"…[a-z/]*churn\.py:31 ", line)


@pytest.mark.parametrize("width", [None, 20, 60, 80, 160])
def test_a_hostile_name_has_no_effect_on_the_terminal(
    hostile_report: Report, width: int | None
) -> None:
    for line in lines_of(hostile_report, width):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", line)
