from __future__ import annotations

import json

import pytest

from kfgcp_components.logs import log


def test_a_line_is_json_with_severity_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    log("first\nsecond", severity="WARNING", rows=2, share=float("nan"), path={1})
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "severity": "WARNING",
        "message": "first\nsecond",
        "rows": 2,
        "share": "nan",
        "path": "{1}",
    }


def test_an_unknown_severity_is_refused() -> None:
    with pytest.raises(ValueError, match="no severity 'LOUD'; there are: DEBUG, INFO"):
        log("text", severity="LOUD")
