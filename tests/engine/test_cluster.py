"""What a pipeline asks of a Kubernetes cluster, by kfp-kubernetes: given in another way, failed, or
named."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp import dsl, kubernetes
from kfp.dsl.base_component import BaseComponent

from kfgcp import api
from kfgcp.engine.settings import EngineSettings
from kfgcp.errors import Unsupported
from kfgcp.model import Run, Task
from kfgcp.spec.load import Spec, from_documents
from patience import PROCESS


@dsl.component(base_image="python:3.11")
def variables(names: list) -> str:
    import os

    return ",".join(os.environ.get(name, "-") for name in names)


@dsl.component(base_image="python:3.11")
def read_file(file: str) -> str:
    with open(file) as stream:
        return stream.read()


@dsl.component(base_image="python:3.11")
def sleep(seconds: float) -> str:
    import time

    print("asleep")
    time.sleep(seconds)
    return "rested"


@dsl.component(base_image="python:3.11")
def deaf(seconds: float) -> str:
    import signal
    import time

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(seconds)
    return "rested"


def spec_of(pipeline: BaseComponent) -> Spec:
    """Both documents of a compiled pipeline."""
    documents = [
        json_format.MessageToDict(message)
        for message in (pipeline.pipeline_spec, pipeline.platform_spec)
    ]
    return from_documents([document for document in documents if document], "test")


def with_task(
    task: Callable[[], dsl.PipelineTask],
    configure: Callable[[dsl.PipelineTask], object],
    name: str = "asks",
) -> Spec:
    @dsl.pipeline(name=name)
    def pipeline() -> str:
        dsl_task = task()
        configure(dsl_task)
        return dsl_task.output

    return spec_of(pipeline)


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Spec], Run]:
    def run(spec: Spec) -> Run:
        return api.submit(spec, in_process=True).wait(check=False).snapshot

    return run


def secret(task: dsl.PipelineTask, *, optional: bool = False) -> None:
    kubernetes.use_secret_as_env(
        task, "db", {"password": "DB_PASSWORD", "user": "DB_USER"}, optional=optional
    )


@pytest.mark.rule("Running a task: a secret's variables are taken from the user's environment")
def test_variables_of_a_secret_come_from_the_environment(
    run: Callable[[Spec], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    monkeypatch.setenv("DB_USER", "ann")

    finished_run = run(with_task(lambda: variables(names=["DB_USER", "DB_PASSWORD"]), secret))

    assert finished_run.outputs == {"Output": "ann,s3cret"}, finished_run.error


@pytest.mark.rule("Running a task: what cannot be honoured here fails the task before it starts")
def test_a_secret_that_is_not_there_fails_the_task_before_it_starts(
    run: Callable[[Spec], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_USER", "ann")
    monkeypatch.delenv("DB_PASSWORD", raising=False)

    finished_run = run(with_task(lambda: variables(names=["DB_USER"]), secret))

    assert finished_run.error is not None
    assert finished_run.error.task == "variables"
    assert finished_run.error.message == (
        "the environment variable DB_PASSWORD is not set: on a cluster, it comes from the secret"
        " 'db'; on this machine, set it in your shell"
    )
    assert finished_run.error.log_tail == ()


def test_an_optional_secret_may_be_missing(
    run: Callable[[Spec], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    monkeypatch.delenv("DB_USER", raising=False)

    finished_run = run(
        with_task(
            lambda: variables(names=["DB_PASSWORD"]), lambda task: secret(task, optional=True)
        )
    )

    assert finished_run.outputs == {"Output": "-"}, finished_run.error


@pytest.mark.rule("Running a task: a folder at the place of a volume stands in for it")
def test_a_volume_is_the_folder_at_its_place(run: Callable[[Spec], Run], tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("rows")

    there = run(
        with_task(
            lambda: read_file(file=f"{tmp_path}/data.txt"),
            lambda task: kubernetes.mount_pvc(task, "claim", str(tmp_path)),
        )
    )
    absent = run(
        with_task(
            lambda: read_file(file=f"{tmp_path}/data.txt"),
            lambda task: kubernetes.mount_pvc(task, "claim", "/no/such/folder"),
        )
    )

    assert there.outputs == {"Output": "rows"}, there.error
    assert absent.error is not None
    assert (
        absent.error.message
        == "the folder /no/such/folder does not exist: on a cluster, it is the volume claim"
        " 'claim'; on this machine, create the folder"
    )


@pytest.mark.rule("Running a task: timeouts are honoured")
@pytest.mark.parametrize("task", [sleep, deaf], ids=["ends-on-request", "must-be-killed"])
def test_an_attempt_that_takes_too_long_is_ended(
    run: Callable[[Spec], Run], monkeypatch: pytest.MonkeyPatch, task: Callable[[Run, str], Task]
) -> None:
    monkeypatch.setattr(
        "kfgcp.backends.local.local_run.EngineSettings",
        functools.partial(EngineSettings, grace=0.5),
    )

    finished_run = run(
        with_task(
            lambda: task(seconds=3600.0), lambda dsl_task: kubernetes.set_timeout(dsl_task, 1)
        )
    )

    assert finished_run.error is not None
    assert finished_run.error.message == "took longer than its timeout of 1 s"
    seconds = finished_run.tasks[0].seconds
    assert seconds is not None
    assert seconds >= 1


def test_a_timeout_counts_for_each_attempt(run: Callable[[Spec], Run]) -> None:
    def configure(task: dsl.PipelineTask) -> None:
        task.set_retry(num_retries=1, backoff_duration="0s")
        kubernetes.set_timeout(task, 1)

    finished_run = run(with_task(lambda: sleep(seconds=3600.0), configure))

    assert finished_run.tasks[0].attempts == 2
    assert finished_run.tasks[0].error is not None
    assert finished_run.tasks[0].error.message == "took longer than its timeout of 1 s"


def test_a_task_that_is_quick_enough_does_not_notice_its_timeout(
    run: Callable[[Spec], Run],
) -> None:
    finished_run = run(
        with_task(lambda: sleep(seconds=0.1), lambda task: kubernetes.set_timeout(task, 300))
    )

    assert finished_run.outputs == {"Output": "rested"}


@pytest.mark.rule("Running a task: what cannot change a result is reported as ignored")
def test_the_rest_is_named_before_the_run_and_changes_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "x")
    monkeypatch.setenv("DB_USER", "x")

    def configure(task: dsl.PipelineTask) -> None:
        secret(task)
        kubernetes.add_node_selector(task, "pool", "big")
        kubernetes.add_toleration(task, key="gpu")
        kubernetes.add_pod_label(task, "team", "growth")
        task.set_cpu_limit("4").set_accelerator_type("NVIDIA_L4").set_accelerator_limit(2)

    spec = with_task(lambda: variables(names=[]), configure)
    handle = api.submit(spec, in_process=True).wait(check=False)

    assert list(handle.notes) == [
        "component variables runs in a process, so its limits of CPU and memory have no effect"
        " (L202)",
        (
            "component variables runs without the accelerator NVIDIA_L4 x 2, because the local"
            " engine assigns none (L203)"
        ),
        (
            "component variables has settings for Kubernetes, which this machine ignores: node"
            " selector, tolerations, pod labels and annotations (L204)"
        ),
        (
            "component variables takes DB_PASSWORD, DB_USER from your shell, not from the"
            " secret 'db' (L206)"
        ),
    ]
    assert handle.refresh().state == "SUCCEEDED"


def test_what_will_fail_is_named_before_the_run(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    monkeypatch.delenv("DB_USER", raising=False)

    with pytest.warns(
        api.NotHeeded,
        match=(
            "variables will fail if it starts, because these variables of the secret 'db' are not"
            " set on this machine: DB_PASSWORD, DB_USER"
        ),
    ):
        handle = api.submit(with_task(lambda: variables(names=[]), secret))

    assert handle.wait(PROCESS, check=False).state == "FAILED"


def test_a_plain_pipeline_has_no_notes(home: Path) -> None:
    handle = api.submit(
        with_task(lambda: variables(names=[]), lambda task: None), in_process=True
    ).wait(check=False)

    assert list(handle.notes) == []


@pytest.mark.rule("Running a task: what cannot be honoured here fails the task before it starts")
def test_a_volume_that_a_cluster_would_make_is_refused_before_anything_starts(home: Path) -> None:
    @dsl.pipeline(name="makes-a-volume")
    def pipeline() -> None:
        claim = kubernetes.CreatePVC(
            access_modes=["ReadWriteOnce"], size="1Gi", pvc_name_suffix="-x"
        )
        task = variables(names=[])
        kubernetes.mount_pvc(task, claim.outputs["name"], "/data")

    with pytest.raises(
        Unsupported, match=r"^Component createpvc creates or deletes a Kubernetes volume"
    ):
        api.submit(spec_of(pipeline), in_process=True)

    assert api.list() == []


def test_a_repeated_run_asks_for_the_same(
    run: Callable[[Spec], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_PASSWORD", raising=False)
    monkeypatch.setenv("DB_USER", "ann")
    first = run(with_task(lambda: variables(names=["DB_PASSWORD"]), secret))
    assert first.state == "FAILED"

    handle = api.rerun(first.run_id, in_process=True, check=False)
    assert handle.refresh().state == "FAILED"

    monkeypatch.setenv("DB_PASSWORD", "s3cret")
    handle = api.rerun(first.run_id, in_process=True, check=False)
    assert handle.refresh().outputs == {"Output": "s3cret"}
    assert "DB_PASSWORD" in os.environ
