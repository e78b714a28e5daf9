"""`kfgcp run --dry-run`, and what `kfgcp run` says and refuses by rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kfgcp.testing
from kfgcp.backends.base import UNKNOWN_SUBMISSION
from kfgcp.testing import KubeflowStandIn, VertexStandIn
from kfgcp_command import Command
from ruled_backend import TOML, install, write_pipeline

PASSWORD = "s3cret-of-bob"  # noqa: S105
INDEX = f"https://bob:{PASSWORD}@index.acme.example/simple"


NEEDS_A_STATUS = """\
from kfp import dsl


@dsl.component
def report(status: dsl.PipelineTaskFinalStatus):
    print(status.state)
"""


@pytest.fixture
def project(home: Path) -> Path:
    """A project with environments whose services do not exist."""
    (home / "kfgcp.toml").write_text(
        '[env.dev]\nbackend = "vertex"\nproject = "acme"\nlocation = "europe-west4"\n'
        'pipeline_root = "gs://acme/runs"\n'
        '[env.gke]\nbackend = "kubeflow"\nhost = "http://127.0.0.1:9"\nauth = "anonymous"\n'
    )
    return home


@pytest.fixture
def variables(home: Path, tmp_path: Path) -> dict[str, str]:
    """The variables for a project with the environment `ruled`, see `ruled_backend`."""
    (home / "kfgcp.toml").write_text(TOML)
    return install(tmp_path / "site")


@pytest.fixture
def kubeflow(home: Path) -> Iterator[KubeflowStandIn]:
    """A stand-in of Kubeflow Pipelines, and the environment `gke` that leads there."""
    with kfgcp.testing.kubeflow(mode="instant") as stand_in:
        (home / "kfgcp.toml").write_text(stand_in.toml("gke"))
        yield stand_in


def write_loops(file: Path, *tasks: str, comment: str = "") -> Path:
    """Write a pipeline with loops without items: a warning of S101 about each.

    Args:
        file: the file.
        tasks: the names of the loops.
        comment: stands at the line of the first loop.
    """
    write_pipeline(file, *tasks)
    spec = json.loads(file.read_text())
    for task in spec["root"]["dag"]["tasks"].values():
        task["parameterIterator"] = {"items": {"raw": "[]"}, "itemInput": "item"}
    spec["components"]["comp-say"]["inputDefinitions"] = {
        "parameters": {"item": {"parameterType": "STRING"}}
    }
    # JSON is also YAML, which has comments.
    file = file.with_suffix(".yaml")
    text = json.dumps(spec, indent=1)
    file.write_text(text.replace(f'    "{tasks[0]}": {{\n', f'    "{tasks[0]}": {{{comment}\n', 1))
    return file


def write_cached_twins(file: Path, *, comment: str = "") -> Path:
    """Write a pipeline with two equal tasks that are cached: a warning of K331 about the second."""
    write_pipeline(file, "say", "twin")
    spec = json.loads(file.read_text())
    for task in spec["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {"enableCache": True}
    file = file.with_suffix(".yaml")
    text = json.dumps(spec, indent=1)
    file.write_text(text.replace('    "twin": {\n', f'    "twin": {{{comment}\n', 1))
    return file


def without_submission(body: object, submission: str) -> object:
    return json.loads(json.dumps(body).replace(submission, UNKNOWN_SUBMISSION))


@pytest.mark.parametrize("env", ["local", "dev", "gke"])
def test_nothing_is_sent_or_started(kfgcp: Command, project: Path, env: str) -> None:
    """The services of the environments do not exist, so a request would be an error."""
    write_pipeline(project / "p.json", "say", params={"rows": 3})

    result = kfgcp("run", "p.json", "--env", env, "-p", "rows=5", "--dry-run", "--json")

    assert result.code == 0, result.err
    assert result.json["env"] == env
    assert list(result.json) == ["env", "backend", "version", "request", "findings"]
    body = result.json["request"]
    values = {"local": "params", "dev": "runtimeConfig", "gke": "runtime_config"}[env]
    assert '"rows": 5' in json.dumps(body[values])
    assert kfgcp("list", "--env", "local", "--json").json == []


def test_vertex_gets_what_was_shown(kfgcp: Command, home: Path, service: VertexStandIn) -> None:
    write_pipeline(home / "p.json", "say", params={"rows": 3})
    shown = kfgcp("run", "p.json", "--env", "dev", "--label", "team=vision", "--dry-run")
    assert len(service.requests) == 0

    kfgcp("run", "p.json", "--env", "dev", "--label", "team=vision", "--detach")

    (sent,) = service.requests.select("POST", "*/pipelineJobs")
    submission = sent.body["labels"]["submission"]
    assert shown.json == without_submission(sent.body, submission)


def test_kubeflow_gets_what_was_shown(kfgcp: Command, home: Path, kubeflow: Any) -> None:
    write_pipeline(home / "p.json", "say", params={"rows": 3})
    shown = kfgcp("run", "p.json", "--env", "gke", "--dry-run")
    assert len(kubeflow.requests) == 0

    kfgcp("run", "p.json", "--env", "gke", "--detach")

    (sent,) = kubeflow.requests.select("POST", "*/runs")
    assert shown.json["experiment_id"] == "the id of the experiment 'default'"
    body = {**sent.body, "experiment_id": shown.json["experiment_id"]}
    submission = json.loads(sent.body["description"].removeprefix("kfgcp: "))["submission"]
    assert shown.json == without_submission(body, submission)


@pytest.mark.parametrize("env", ["dev", "gke"])
def test_passwords_are_masked(kfgcp: Command, project: Path, env: str) -> None:
    file = write_pipeline(project / "p.json", "say", params={"rows": 3})
    text = file.read_text().replace('"echo"', f'"pip", "install", "--index-url", "{INDEX}"')
    file.write_text(text)

    result = kfgcp("run", "p.json", "--env", env, "--dry-run", "--json")

    assert "https://***@index.acme.example/simple" in result.out
    assert PASSWORD not in result.out + result.err


def test_findings_are_shown_beside_the_request(
    kfgcp: Command, home: Path, variables: dict[str, str]
) -> None:
    write_pipeline(home / "p.json", "slow")

    result = kfgcp("run", "p.json", "--env", "ruled", "--dry-run", env=variables)

    assert result.code == 0
    assert result.json == {"args": {}, "index": "https://***@index.acme.example/"}
    assert "p.json:13: warning: task slow is slow on 2.1 (T201)" in result.err
    assert "ruled would get this request; nothing was sent" in result.err


def test_an_error_is_the_exit_code_5_and_no_request(
    kfgcp: Command, home: Path, variables: dict[str, str]
) -> None:
    write_pipeline(home / "p.json", "never")

    shown = kfgcp("run", "p.json", "--env", "ruled", "--dry-run", env=variables)
    as_json = kfgcp("run", "p.json", "--env", "ruled", "--dry-run", "--json", env=variables)

    assert (shown.code, shown.out) == (5, "")
    assert "error: task never cannot run on ruled (T101)" in shown.err
    assert "ruled would refuse the run; nothing was sent" in shown.err
    assert (as_json.code, as_json.json["request"]) == (5, None)
    assert "T101" in [finding["rule"] for finding in as_json.json["findings"]]


def test_a_resumed_run_has_no_dry_run(kfgcp: Command) -> None:
    assert kfgcp("run", "--resume", "latest", "--dry-run").code == 2


def test_a_run_shows_warnings_of_rules_once(kfgcp: Command, home: Path) -> None:
    file = write_loops(home / "p.json", "say")

    result = kfgcp("run", file)

    assert result.code == 0, result.err
    message = "task say loops over an empty list, so nothing in it runs (S101)"
    assert result.err.count(message) == 1
    # A note is too common to be shown at each run.
    assert "(R1" not in result.err
    rerun = kfgcp("rerun", "latest")
    assert message not in rerun.err


def test_suppressed_warnings_are_not_shown(kfgcp: Command, home: Path) -> None:
    plain = write_loops(home / "p.json", "say")
    reason = "  # kfgcp: S101 because it is a template"
    commented = write_loops(home / "q.json", "say", comment=reason)
    without_reason = write_loops(home / "r.json", "say", comment="  # kfgcp: S101")

    assert "(S101)" not in kfgcp("run", commented).err
    assert "(S101)" in kfgcp("run", without_reason).err
    (home / "kfgcp.toml").write_text('[check]\nignore = { S101 = "we know" }\n')
    assert "(S101)" not in kfgcp("run", plain).err


def test_a_comment_silences_only_the_finding_in_its_line(kfgcp: Command, home: Path) -> None:
    """Two loops have findings of the same rule, and only one has a comment."""
    reason = "  # kfgcp: S101 because it is a template"
    file = write_loops(home / "p.json", "say", "tell", comment=reason)

    result = kfgcp("run", file)

    assert result.code == 0, result.err
    assert "task say loops over an empty list" not in result.err
    assert "task tell loops over an empty list, so nothing in it runs (S101)" in result.err


def test_a_component_that_needs_a_final_status_is_refused_alone(kfgcp: Command, home: Path) -> None:
    """KFP compiles a component alone, and its program fails without a status."""
    (home / "p.py").write_text(NEEDS_A_STATUS)

    refused = kfgcp("run", "p.py")
    (home / "kfgcp.toml").write_text('[check]\nignore = { S127 = "to see the failure" }\n')
    failed = kfgcp("run", "p.py")

    assert refused.code == 5
    assert "Task report needs the final status of other tasks as 'status'" in refused.err
    assert failed.code == 6
    assert "AttributeError: 'NoneType' object has no attribute 'get'" in failed.err


def test_notes_about_a_server_name_their_rule_and_can_be_silenced(
    kfgcp: Command, home: Path, kubeflow: Any
) -> None:
    file = write_cached_twins(home / "p.json")
    silenced = write_cached_twins(
        home / "q.json", comment="  # kfgcp: K331 because they do the same"
    )
    note = "task twin has the same code and inputs as say: on Kubeflow, it may take the outputs of"

    shown = kfgcp("run", file, "--env", "gke", "--detach")
    silent = kfgcp("run", silenced, "--env", "gke", "--detach")

    assert (shown.code, silent.code) == (0, 0), shown.err + silent.err
    (line,) = [line for line in shown.err.splitlines() if note in line]
    assert line == f"note: {note} say from the cache (K331)"
    assert note not in silent.err


def test_a_run_refuses_errors_in_the_words_of_the_check(kfgcp: Command, home: Path) -> None:
    file = write_pipeline(home / "p.json", "say")
    word = "{{$.inputs.artifacts['rows']}}"
    file.write_text(file.read_text().replace('"echo"', f'"echo", "{word}"'))

    checked = kfgcp("check", file, "--json")
    run = kfgcp("run", file)

    errors = [finding for finding in checked.json["findings"] if finding["severity"] == "error"]
    assert run.code == 5
    assert any(error["message"][1:] in run.err and error["hint"] in run.err for error in errors)
