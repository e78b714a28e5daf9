"""Artifacts that a pipeline is given, and lists of artifacts: the same on each backend, or refused."""

from typing import Any

import pytest

from kfgcp import api
from kfgcp.errors import Unsupported


@pytest.mark.feature("Tasks: a whole list of artifacts in a command is refused before the run")
def test_a_whole_list_of_artifacts_in_a_command_is_refused(place: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        place.submit("whole_list")

    assert "count passes all of the artifact 'data' to its command" in caught.value.message
    assert "Input[list[Dataset]]" in caught.value.hint
    assert "whole-list" not in [run.pipeline for run in api.list()]
