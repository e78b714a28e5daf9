"""Lines of logs that are JSON for Cloud Logging are shown as their message."""

import pytest

from kfgcp.log_lines import readable_line


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"severity": "INFO", "message": "read 3 rows", "rows": 3}', "read 3 rows"),
        ('{"message": "a\\nb", "severity": "NOTICE"}', "a b"),
        ('{"severity": "ERROR", "message": "no data"}', "ERROR: no data"),
    ],
)
def test_the_message_is_shown(line: str, shown: str) -> None:
    assert readable_line(line) == shown


@pytest.mark.parametrize(
    "line",
    [
        "",
        "read 3 rows",
        "{",
        '{"message": "without a severity"}',
        '{"severity": "INFO", "message": 3}',
        '{"severity": 3, "message": "x"}',
        '{"severity": "INFO", "text": "message"}',
        '{"severity": "INFO", "message": "two objects"} {}',
        '[{"severity": "INFO", "message": "a list"}]',
        '{"message":' + "[" * 100_000,
    ],
)
def test_other_lines_are_shown_as_they_are(line: str) -> None:
    assert readable_line(line) == line
