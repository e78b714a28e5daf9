"""The rules of Kubeflow: each has a pipeline that triggers it, and the smallest edit that silences
it. Recorded runs are witnesses from outside."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfgcp.backends.kubeflow import BACKEND
from kfgcp.backends.kubeflow.rules import kubeflow_rules
from kfgcp.options import RunOptions
from kfgcp.rules.contexts import PipelineContext
from kfgcp.rules.findings import RuleFinding, Severity
from kfgcp.rules.rule import Rule, Target, judge
from kfgcp.rules.versions import Version
from kfgcp.spec.load import Spec, from_documents, load
from kubeflow_rule_cases import CASES, Case
from kubeflow_rule_pipelines import constant, pipeline, takes

RECORDED = Path(__file__).parents[2] / "recorded" / "cluster-2.17.0"
RULES = {rule.id: rule for rule in kubeflow_rules()}
SERVER = (2, 17, 0)


def affected_version(rule: Rule) -> Version:
    """A version of which a rule is true."""
    return next(version for version in reversed(BACKEND.versions) if rule.affects(version))


def find(
    rules: list[Rule], spec: Spec, version: Version | None, options: RunOptions | None = None
) -> list[RuleFinding]:
    target = Target("gke", "kubeflow", version, options=options or RunOptions())
    return judge(rules, PipelineContext(spec), target)


def ids(spec: Spec, version: Version | None = SERVER) -> set[str]:
    return {finding.rule for finding in find(list(RULES.values()), spec, version)}


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_a_pipeline_triggers_the_rule_and_the_smallest_edit_silences_it(case: Case) -> None:
    rule = RULES[case.rule]
    version = affected_version(rule)

    (finding,) = find([rule], case.spec(), version, case.options)

    assert (finding.rule, finding.severity, finding.task) == (rule.id, rule.severity, case.task)
    assert "{" not in finding.message
    assert finding.hint
    options = case.options if case.silent_options is None else case.silent_options
    assert find([rule], case.silent_spec(), version, options) == []


@pytest.mark.parametrize("case", CASES, ids=[case.rule for case in CASES])
def test_a_rule_is_silent_for_servers_that_it_does_not_affect(case: Case) -> None:
    rule = RULES[case.rule]
    for version in BACKEND.versions:
        findings = find([rule], case.spec(), version, case.options)
        is_before = rule.since is not None and version < rule.since
        is_after = rule.fixed_in is not None and version >= rule.fixed_in
        assert bool(findings) is not (is_before or is_after)


def test_every_rule_has_a_pipeline_that_triggers_it() -> None:
    assert [case.rule for case in CASES] == sorted(RULES)


def test_every_rule_names_its_source() -> None:
    for rule in RULES.values():
        assert len(rule.source) > 5
        assert rule.id[0] == "K"
        for word in rule.source.split():
            if word.startswith("cluster-"):
                assert (RECORDED.parent / word.strip(".,;:")).is_dir()


def test_the_releases_of_the_backend_are_sorted() -> None:
    assert list(BACKEND.versions) == sorted(set(BACKEND.versions))
    assert BACKEND.rules is not None
    assert tuple(BACKEND.rules()) == kubeflow_rules()


def test_a_plain_pipeline_has_no_findings_anywhere() -> None:
    spec = from_documents([pipeline()], "p")
    for version in (*BACKEND.versions, None):
        assert ids(spec, version) == set()


# -- recorded runs

# What was recorded to fail there although the pipeline runs elsewhere -> the rules that say so.
FAILED = {
    "collected-skipped": {"K303"},
    "exit-driver": {"K323"},
    "list-arguments": {"K304", "K314"},
    "loop-empty": {"K302"},
    "loop-nested": {"K112"},
    "loop-output": {"K112"},
    "nan-metrics": {"K311"},
}
# What was recorded to fail because a program or an input is wrong, on every backend.
WRONG = {
    "exit-bad",
    "exit-pipeline",
    "fail-dep",
    "fail-ignore",
    "fail-only",
    "fail-sub",
    "failing-inside",
    "importer-loop",
    "param-none",
    "retry-bad",
    "retry-sub",
}
# What was recorded to succeed in another way than documented -> the rules that say so.
OTHERWISE = {
    "collected-nested": {"K301"},
    "containers": {"K306"},
    "digits": {"K310"},
    "exit-good": {"K305"},
    "fail-dep-ignore": {"K321"},
}


def recorded_state(name: str) -> str:
    run = json.loads((RECORDED / name / "run.json").read_text())
    return str(run["state"])


def recorded_runs() -> list[str]:
    """The runs that were recorded with their pipelines."""
    return sorted(file.parent.name for file in RECORDED.glob("*/pipeline.yaml"))


@pytest.mark.parametrize("name", recorded_runs())
def test_no_recorded_run_that_succeeded_is_refused(name: str) -> None:
    """And none that failed for a reason of the server is without a finding."""
    spec = load(str(RECORDED / name / "pipeline.yaml"))
    findings = find(list(RULES.values()), spec, SERVER)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]

    if recorded_state(name) == "SUCCEEDED":
        assert errors == []
    else:
        assert name in FAILED or name in WRONG
    expected = FAILED.get(name, set()) | OTHERWISE.get(name, set())
    assert expected <= {finding.rule for finding in findings}


@pytest.mark.parametrize(
    "name", ["conditions", "hello", "importing", "loop-constants", "nested", "values"]
)
def test_a_run_that_was_recorded_as_documented_has_no_findings(name: str) -> None:
    assert ids(load(str(RECORDED / name / "pipeline.yaml"))) == set()


def test_retries_have_no_effect_with_the_workflow_defaults_of_2_17() -> None:
    """The same pipeline ran with and without these defaults."""
    spec = load(str(RECORDED / "retry-good" / "pipeline.yaml"))

    assert recorded_state("retry-good") == "SUCCEEDED"
    assert recorded_state("retry-good-with-default-configmap") == "FAILED"
    assert "K322" in ids(spec)
    assert "K322" not in ids(spec, (2, 16, 1))


@pytest.mark.parametrize(("name", "rule"), [("importer-loop", "K228"), ("exit-loop", "K229")])
def test_a_run_that_was_recorded_on_2_17_is_doubtful_on_2_14(name: str, rule: str) -> None:
    spec = load(str(RECORDED / name / "pipeline.yaml"))

    assert rule not in ids(spec)
    assert rule in ids(spec, (2, 14, 3))


def test_numbers_in_a_list_are_as_documented() -> None:
    """As recorded: see-5, see-6 and see-8 failed."""
    spec = load(str(RECORDED / "list-arguments" / "pipeline.yaml"))

    tasks = {finding.task for finding in find([RULES["K304"]], spec, SERVER)}

    assert tasks & {"see-2", "see-3", "see-4"} == set()
    assert {"see-5", "see-6", "see-8"} <= tasks


# -- options and size


@pytest.mark.parametrize(("cache", "rules"), [(None, {"K331"}), (True, {"K331"}), (False, set())])
def test_equal_tasks_share_a_result_when_the_run_uses_the_cache(
    cache: bool | None, rules: set[str]
) -> None:
    case = next(case for case in CASES if case.rule == "K331")

    findings = find([RULES["K331"]], case.spec(), SERVER, RunOptions(cache=cache))

    assert {finding.rule for finding in findings} == rules


def test_variables_do_not_make_tasks_different() -> None:
    """The key of the cache on Kubeflow leaves variables out."""
    case = next(case for case in CASES if case.rule == "K331")
    document: dict[str, Any] = json.loads(json.dumps(case.document))
    document["components"]["other"] = {**document["components"]["takes"], "executorLabel": "f"}
    executors = document["deploymentSpec"]["executors"]
    executors["f"] = json.loads(json.dumps(executors["e"]))
    executors["f"]["container"]["env"] = [{"name": "SEED", "value": "2"}]
    document["root"]["dag"]["tasks"]["work"]["componentRef"] = {"name": "other"}

    assert [f.task for f in find([RULES["K331"]], from_documents([document], "p"), SERVER)] == [
        "work"
    ]


@pytest.mark.parametrize("count", [500, 4000])
def test_rules_take_time_in_proportion_to_the_tasks(count: int) -> None:
    """All rules need less than 0.4 ms of processor time for a task. A rule that compares all pairs
    of 4,000 equal tasks would need 8 million comparisons, which is far above."""
    cached = {"cachingOptions": {"enableCache": True}}
    tasks = {f"t{number}": takes(constant(1)) | cached for number in range(count)}
    context = PipelineContext(from_documents([pipeline(tasks)], "p"))
    assert len(context.tasks) == count
    target = Target("gke", "kubeflow", SERVER)

    started = time.process_time()
    findings = judge(kubeflow_rules(), context, target)

    assert time.process_time() - started < count * 0.0004
    assert len(findings) == count - 1


def test_a_pipeline_with_the_same_name_for_a_run_of_the_user_is_not_too_long() -> None:
    case = next(case for case in CASES if case.rule == "K108")

    assert find([RULES["K108"]], case.spec(), SERVER, replace(RunOptions(), name="short")) == []
