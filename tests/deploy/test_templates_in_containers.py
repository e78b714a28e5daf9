"""Each template runs in the images of kfgcp, with the results of a run without containers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import kfgcp
from component_images import build_images
from kfgcp.model import Run, RunState

if TYPE_CHECKING:
    from docker import DockerClient

PIPELINES = {template.name: template.run.split()[-1] for template in kfgcp.templates()}
WITH_REGISTRY = ("batch-predict", "train-gate-register")

# Each task in a container imports scikit-learn, so the loop of this template has two models.
MODELS = {"train-regressor": {"models": ["ridge", "gradient_boosting"]}}
IMAGES = ("base", "gcp", "tabular")

Limits = tuple[str, bool, str]
"""The user of a container, whether its root is read-only, and its network."""


@pytest.fixture
def limits(docker: DockerClient, monkeypatch: pytest.MonkeyPatch) -> list[Limits]:
    """Collects what the Docker engine says of each container that it creates."""
    from docker.models.containers import ContainerCollection

    limits: list[Limits] = []
    create = ContainerCollection.create

    def create_and_look(*arguments: Any, **options: Any) -> Any:
        container = create(*arguments, **options)
        host = container.attrs["HostConfig"]
        user = container.attrs["Config"]["User"]
        limits.append((user, host["ReadonlyRootfs"], host["NetworkMode"]))
        return container

    monkeypatch.setattr(ContainerCollection, "create", create_and_look)
    return limits


def results_of(run: Run) -> tuple[dict[str, float], dict[str, object]]:
    """Return the metrics of a run by task and name, and the outputs of its pipeline."""
    assert run.state is RunState.SUCCEEDED, run.error
    metrics = {f"{metric.task}/{metric.name}": metric.value for metric in run.metrics}
    return metrics, dict(run.outputs)


def submit(pipeline: str, **options: Any) -> Run:
    handle = kfgcp.submit(pipeline, in_process=True, **options)
    return handle.wait(check=False).snapshot


@pytest.mark.parametrize("template", PIPELINES)
def test_a_template_runs_in_containers_without_rights_and_network(
    template: str,
    home: Path,
    python_base: str,
    limits: list[Limits],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kfgcp.init("shop", template=template)
    monkeypatch.chdir(home / "shop")
    build_images(home / "shop", python_base, *IMAGES)
    monkeypatch.setenv("KFGCP_ENV_LOCAL_CONTAINER_NETWORK", "none")
    params: dict[str, Any] = MODELS.get(template, {})
    params_here = dict(params)
    if template in WITH_REGISTRY:
        params_here["registry"] = str(home / "registry")

    in_containers = submit(PIPELINES[template], executor="docker", params=params)
    here = submit(PIPELINES[template], executor="process", cache=False, params=params_here)

    metrics, outputs = results_of(in_containers)
    assert metrics or outputs
    assert results_of(here) == (pytest.approx(metrics, rel=1e-9), outputs)
    tasks = [task for task in in_containers.tasks if task.kind == "container"]
    assert len(limits) == len([task for task in tasks if task.state == "SUCCEEDED"])
    assert set(limits) == {("10001", True, "none")}


def test_a_second_run_in_containers_compares_with_the_model_of_the_first(
    home: Path, python_base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfgcp.init("shop", template="train-gate-register")
    monkeypatch.chdir(home / "shop")
    build_images(home / "shop", python_base, *IMAGES)

    # A run without containers makes files of this user, to which containers then add theirs.
    first = submit("train", executor="process")
    second = submit("train", executor="docker", params={"model": "random_forest"})

    assert results_of(first)[1] == {"Output": True}
    gate = next(task for task in second.tasks if task.path == "gate-model")
    assert "champion" in str(gate.outputs["reason"])
    assert second.state is RunState.SUCCEEDED, second.error
