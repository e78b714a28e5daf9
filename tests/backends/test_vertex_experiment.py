"""Runs in Vertex AI Experiments, as Google's own client reads them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import kfgcp
import kfgcp.testing
from kfgcp.errors import UsageError
from kfgcp.testing import VertexStandIn
from patience import PROCESS

PIPELINE = """
from kfp import dsl
from kfp.dsl import Metrics, Output

@dsl.component(base_image="python:3.11")
def score(metrics: Output[Metrics], lr: float) -> None:
    metrics.log_metric("accuracy", 1 - lr)

@dsl.pipeline(name="scored")
def pipeline(lr: float = 0.25) -> None:
    score(lr=lr)
"""


@pytest.fixture
def cloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexStandIn]:
    (home / "pipe.py").write_text(PIPELINE)
    with kfgcp.testing.vertex() as env:
        (home / "kfgcp.toml").write_text(env.toml("dev") + "experiment_tracking = true\n")
        with pytest.MonkeyPatch.context() as change:
            for name, value in env.environ.items():
                change.setenv(name, value)
            yield env


def test_runs_are_in_the_experiment_that_googles_client_reads(cloud: VertexStandIn) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    for lr in (0.25, 0.5):
        kfgcp.run("pipe.py", env="dev", params={"lr": lr}, experiment="churn", timeout=PROCESS)

    aiplatform.init(
        project=cloud.project,
        location=cloud.location,
        api_endpoint=cloud.api_endpoint,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    frame = aiplatform.get_experiment_df("churn", include_time_series=False)

    assert sorted(frame["param.lr"]) == [0.25, 0.5]
    assert sorted(frame["metric.accuracy"]) == [0.5, 0.75]
    assert len(kfgcp.runs(experiment="churn")) == 2


def test_it_is_made_and_joined_once(cloud: VertexStandIn) -> None:
    run = kfgcp.run("pipe.py", env="dev", experiment="churn", timeout=PROCESS)
    kfgcp.show(run.run_id)
    kfgcp.run("pipe.py", env="dev", experiment="churn", timeout=PROCESS)

    assert cloud.requests.count("POST", "*/contexts") == 1
    assert cloud.requests.count("POST", "*:addContextChildren") == 2


def test_without_the_setting_nothing_is_made(cloud: VertexStandIn, home: Path) -> None:
    (home / "kfgcp.toml").write_text(cloud.toml("dev"))

    kfgcp.run("pipe.py", env="dev", experiment="churn", timeout=PROCESS)

    assert cloud.requests.count("POST", "*/contexts*") == 0
    assert "experiment_tracking" not in os.environ


def test_a_name_that_vertex_refuses_is_reported_before_a_request(cloud: VertexStandIn) -> None:
    with pytest.raises(
        UsageError, match="'My Experiment' cannot be the name of an experiment"
    ) as caught:
        kfgcp.submit("pipe.py", env="dev", experiment="My Experiment")

    assert "my-experiment" in caught.value.hint
    assert cloud.requests.count("POST", "*/pipelineJobs") == 0
