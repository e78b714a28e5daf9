"""The example of docs/guides/check.md, and the rules that docs/contributing/backends.md shows."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.rule import Target, judge, rules_of
from kfgcp.spec.load import load
from kfgcp_command import Command
from ruled_backend import write_pipeline

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "check_me.py"


def test_the_example_has_findings_of_every_kind(
    home: Path, kfgcp: Command, blocks: Callable[[str, str], list[str]]
) -> None:
    guide = (ROOT / "docs" / "guides" / "check.md").read_text(encoding="utf-8")
    (home / "kfgcp.toml").write_text(blocks(guide, "toml")[0])

    result = kfgcp("check", EXAMPLE, "--all-envs", "--json")

    assert result.code == 4
    findings = result.json["findings"]
    assert [env["backend"] for env in result.json["envs"]] == ["local", "vertex", "kubeflow"]
    assert {finding["rule"][0] for finding in findings} >= {"P", "R", "Y", "V", "L"}
    assert {finding["severity"] for finding in findings} >= {"error", "warning", "note"}
    assert all(finding["line"] for finding in findings)


@pytest.fixture
def rules_of_the_guide(
    monkeypatch: pytest.MonkeyPatch,
    blocks: Callable[[str, str], list[str]],
    section: Callable[[str, str], str],
) -> types.ModuleType:
    guide = (ROOT / "docs" / "contributing" / "backends.md").read_text(encoding="utf-8")
    source, plug_in = blocks(section(guide, "## Rules of kfgcp check"), "python")
    module = types.ModuleType("kfgcp_toy_rules")
    monkeypatch.setitem(sys.modules, "kfgcp_toy_rules", module)
    exec(source, vars(module))  # noqa: S102  # our own guide
    assert "from kfgcp_toy_rules import rules" in plug_in
    return module


def test_the_rules_of_the_guide_work(rules_of_the_guide: types.ModuleType, tmp_path: Path) -> None:
    rules = rules_of_the_guide.rules()
    assert rules == rules_of(rules_of_the_guide)
    file = write_pipeline(tmp_path / "p.json", "say", image="root/python")
    text = file.read_text()
    retried = text.replace('"taskInfo"', '"retryPolicy": {"maxRetryCount": 3},\n"taskInfo"')
    file.write_text(retried)

    def messages(version: tuple[int, ...]) -> list[str]:
        target = Target("toy", "toy", version)
        return [finding.message for finding in judge(rules, PipelineContext(load(file)), target)]

    retries = "task say is retried 3 times, and the toy retries at most once"
    runs_as_root = "component say runs as root, and the toy has no root"
    assert messages((1, 0)) == [retries, runs_as_root]
    assert messages((2, 0)) == [runs_as_root]
    file.write_text(text.replace("root/python", "{{$.inputs.parameters['image']}}"))
    assert messages((2, 0)) == ["not judged: the image of component say is known only in a run"]
