"""What the triggers of the module ci run: cloudbuild.yaml, and cloudbuild/pr.yaml on pull
requests."""

import re
from pathlib import Path
from typing import Any

import yaml

from terraform_offline.hcl import read_blocks

ROOT = Path(__file__).parents[2]
MAIN: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text(encoding="utf-8"))
PULL_REQUEST: dict[str, Any] = yaml.safe_load(
    (ROOT / "cloudbuild" / "pr.yaml").read_text(encoding="utf-8")
)
TRIGGERS = [
    block
    for block in read_blocks(ROOT / "terraform" / "modules" / "ci")
    if block.kind == "resource"
]


def test_a_pull_request_goes_through_the_steps_of_main() -> None:
    """tests/docs/test_cloudbuild.py runs the one that is a script."""
    assert PULL_REQUEST["steps"] == MAIN["steps"]
    assert [step["id"] for step in PULL_REQUEST["steps"]] == ["lint", "test", "compile"]


def test_a_pull_request_keeps_nothing_and_knows_no_secret() -> None:
    assert set(PULL_REQUEST) == {"steps", "options", "timeout"}
    assert PULL_REQUEST["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    text = (ROOT / "cloudbuild" / "pr.yaml").read_text(encoding="utf-8")
    assert not re.search(r"secret(Env|Manager)|\$\{?_", text)


def test_the_files_that_triggers_name_are_there_and_get_what_they_ask_for() -> None:
    named = {trigger.labels[1]: trigger.body for trigger in TRIGGERS}

    assert {name: body["filename"] for name, body in named.items()} == {
        "push": "cloudbuild.yaml",
        "pull_request": "cloudbuild/pr.yaml",
    }
    assert set(named["push"]["substitutions"]) == set(MAIN["substitutions"])
    assert "substitutions" not in named["pull_request"]
    for body in named.values():
        assert (ROOT / body["filename"]).is_file()
