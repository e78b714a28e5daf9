"""Markdown: a table that names cannot break, read back by a second implementation of GFM."""

import re

from markdown_it import MarkdownIt

from kfgcp.rules.formats.markdown import format_markdown
from kfgcp.rules.report import Report
from tests.rules.conftest import HOSTILE


def test_findings_are_rows_and_environments_columns(report: Report) -> None:
    assert format_markdown(report) == (
        "### kfgcp check: churn\n"
        "\n"
        "| severity | rule | where | finding | gke | prod |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| error | K101 | pipelines/churn.py:31 | task for-loop-1 loops over artifacts |"
        " error | warning |\n"
        "| warning | R101 | pipelines/churn.py:7 | component train runs the image python:3.12 |"
        " warning | warning |\n"
        "| warning | R101 |  | component test runs the image python:3.11 | warning | warning |\n"
        "| not judged | V201 |  | not judged: the memory is known only at run time |"
        "  | not judged |\n"
        "\n"
        "**Hints**\n"
        "\n"
        "- K101: Loop over their URIs.\n"
        "- R101: Pin the image.\n"
        "\n"
        "**Suppressed**\n"
        "\n"
        "- Y101: component train has a password. Reason: the index is public"
        " (pipelines/churn.py:6)\n"
        "\n"
        "**Notes**\n"
        "\n"
        "- gke: kfgcp does not know version 2.19\n"
    )


def test_a_report_without_findings_says_so() -> None:
    text = format_markdown(Report("churn", "sha256:1f", [], []))

    assert text == "### kfgcp check: churn\n\nNo findings.\n"


def test_a_hostile_name_is_shown_as_it_is(hostile_report: Report) -> None:
    html = MarkdownIt("commonmark").enable("table").render(format_markdown(hostile_report))

    assert html.count("<table>") == 1
    assert html.count("<tr>") == 2
    # The header has four columns and one environment.
    assert html.count("<th>") == html.count("<td>") == 5
    tags = set(re.findall(r"<(\w+)", html))
    assert tags <= {"h3", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "strong", "p"}
    shown = r"a\nb::error::c|d%25 \x1b[31m\u202ee" + "\t" + r"[x](y) {0} &lt;b&gt; `z`\r"
    assert f"<th>{shown}</th>" in html
    assert HOSTILE not in html
