"""Reports for the tests of formats."""

import pytest

from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.report import Report, Row, Suppression
from kfgcp.rules.rule import Target
from kfgcp.spec.source_map import Location

HOSTILE = "a\nb::error::c|d%25 \x1b[31m\u202ee\t[x](y) {0} <b> `z`\r"
"""A name that means something to every format: line ends, a workflow command, a cell of a table, an
escape sequence of terminals, right to left, a tab, a link, a placeholder, HTML and code."""


@pytest.fixture
def report() -> Report:
    """A pipeline with an error, a warning and an open question, and one suppressed finding."""
    loop = RuleFinding(
        "K101",
        Severity.ERROR,
        "task for-loop-1 loops over artifacts",
        "Loop over their URIs.",
        task="for-loop-1",
        component="comp-for-loop-1",
    )
    tag = RuleFinding(
        "R101",
        Severity.WARNING,
        "component train runs the image python:3.12",
        "Pin the image.",
        task="train",
        component="comp-train",
    )
    other_tag = RuleFinding(
        "R101", Severity.WARNING, "component test runs the image python:3.11", "Pin the image."
    )
    memory = RuleFinding(
        "V201", Severity.NOT_JUDGED, "not judged: the memory is known only at run time"
    )
    password = RuleFinding("Y101", Severity.WARNING, "component train has a password", "Remove it.")
    return Report(
        "churn",
        "sha256:1f",
        [Target("gke", "kubeflow", (2, 14, 0)), Target("prod", "vertex")],
        [
            Row(
                loop,
                {"gke": Severity.ERROR, "prod": Severity.WARNING},
                Location("pipelines/churn.py", 31),
            ),
            Row(
                tag,
                {"gke": Severity.WARNING, "prod": Severity.WARNING},
                Location("pipelines/churn.py", 7),
            ),
            Row(other_tag, {"gke": Severity.WARNING, "prod": Severity.WARNING}),
            Row(memory, {"prod": Severity.NOT_JUDGED}),
        ],
        [
            Row(
                password,
                {"gke": Severity.WARNING},
                Location("pipelines/churn.py", 7),
                Suppression("the index is public", "pipelines/churn.py:6"),
            )
        ],
        ["gke: kfgcp does not know version 2.19"],
    )


@pytest.fixture
def hostile_report() -> Report:
    """A report in which every text of the user is hostile."""
    finding = RuleFinding("K101", Severity.ERROR, HOSTILE, HOSTILE, task=HOSTILE, component=HOSTILE)
    row = Row(finding, {HOSTILE: Severity.ERROR}, Location(HOSTILE, 3))
    suppressed = Row(finding, {HOSTILE: Severity.ERROR}, None, Suppression(HOSTILE, HOSTILE))
    target = Target(HOSTILE, "kubeflow")
    return Report(HOSTILE, "sha256:1f", [target], [row], [suppressed], [HOSTILE])
