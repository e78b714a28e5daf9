"""Google's own clients, unmodified, against the stand-in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from json_types import JsonDict
from kfgcp.testing import VertexStandIn
from stand_in_apis import VertexApi


@pytest.fixture
def job_of(aiplatform: Any, env: VertexStandIn, pipeline: Callable[[str], Path]) -> Any:
    """Return a function that builds a PipelineJob, not submitted yet."""

    def make(name: str, job_id: str, **options: Any) -> Any:
        return aiplatform.PipelineJob(
            display_name=name,
            template_path=str(pipeline(name)),
            job_id=job_id,
            pipeline_root=env.pipeline_root,
            **options,
        )

    return make


def test_a_job_is_submitted_awaited_listed_and_deleted(
    aiplatform: Any, job_of: Any, env: VertexStandIn
) -> None:
    job = job_of(
        "two_scores", "scores", parameter_values={"first": 0.25}, labels={"team": "growth"}
    )

    job.submit(service_account="runner@example.com")
    job.wait()

    assert job.state.name == "PIPELINE_STATE_SUCCEEDED"
    metrics = {
        detail.task_name: dict(detail.outputs["metrics"].artifacts[0].metadata)
        for detail in job.task_details
        if "metrics" in detail.outputs
    }
    assert metrics == {"evaluate": {"accuracy": 0.25}, "evaluate-2": {"accuracy": 0.75}}
    assert env.requests.count("POST", "*/pipelineJobs") == 1
    (listed,) = aiplatform.PipelineJob.list(filter='labels.team="growth"')
    (simple,) = aiplatform.PipelineJob.list(enable_simple_view=True, order_by="create_time desc")
    assert listed.name == simple.name == "scores"
    assert aiplatform.PipelineJob.get("scores").display_name == "two_scores"
    job.delete()
    assert aiplatform.PipelineJob.list() == []


def test_a_failed_job_raises_with_the_tasks_that_failed(job_of: Any) -> None:
    job = job_of("one_fails", "fails")
    job.submit()

    with pytest.raises(RuntimeError, match=r"The failed tasks are: \[boom\]"):
        job.wait()


def test_a_job_is_cancelled(job_of: Any) -> None:
    job = job_of("sleeps", "long", parameter_values={"seconds": 600.0})
    job.submit()

    job.cancel()
    job.wait()

    assert job.state.name == "PIPELINE_STATE_CANCELLED"


def test_jobs_are_deleted_and_cancelled_in_batches(
    job_of: Any, env: VertexStandIn, ended: Callable[[VertexApi, str], JsonDict], rest: VertexApi
) -> None:
    env.seed(2)
    first_id, second_id = env.jobs()
    job = job_of("sleeps", "long", parameter_values={"seconds": 600.0})
    job.submit()

    deleted = job.batch_delete(env.project, env.location, [first_id, second_id])
    cancelled = job.batch_cancel(env.project, env.location, ["long"]).result()

    assert len(deleted.pipeline_jobs) == 2
    assert len(cancelled.pipeline_jobs) == 1
    assert env.jobs() == ["long"]
    assert ended(rest, "long")["state"] == "PIPELINE_STATE_CANCELLED"


def test_errors_are_the_clients_own_exceptions(job_of: Any, aiplatform: Any) -> None:
    from google.api_core import exceptions

    job_of("echo", "same").submit()

    with pytest.raises(exceptions.Conflict):
        job_of("echo", "same").submit()
    with pytest.raises(exceptions.NotFound):
        aiplatform.PipelineJob.get("not-there")
    with pytest.raises(exceptions.BadRequest, match="Invalid filter"):
        aiplatform.PipelineJob.list(filter="colour=red")
    with pytest.raises(exceptions.Forbidden):
        aiplatform.PipelineJob.list(project="another")


def test_an_experiment_has_a_row_for_each_job_with_parameters_and_metrics(
    aiplatform: Any, job_of: Any
) -> None:
    first_job, second_job = (
        job_of("two_scores", f"scores-{number}", parameter_values={"second": number})
        for number in (1, 2)
    )
    for job in (first_job, second_job):
        job.submit(experiment="compare")
    for job in (first_job, second_job):
        job.wait()

    frame = aiplatform.get_experiment_df("compare").sort_values("run_name", ignore_index=True)

    assert list(frame["run_name"]) == ["scores-1", "scores-2"]
    assert set(frame["run_type"]) == {"system.PipelineRun"}
    assert set(frame["state"]) == {"COMPLETE"}
    assert list(frame["param.second"]) == [1, 2]
    assert set(frame["param.first"]) == {0.5}
    assert set(frame["metric.accuracy"]) <= {0.5, 1.0, 2.0}


def test_seeded_jobs_can_be_in_an_experiment(aiplatform: Any, env: VertexStandIn) -> None:
    env.seed(
        5,
        experiment="many",
        params={"lr": lambda number: number / 10},
        metrics={"accuracy": lambda number: number},
    )

    frame = aiplatform.get_experiment_df("many").sort_values("param.lr", ignore_index=True)

    assert list(frame["param.lr"]) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert list(frame["metric.accuracy"]) == [0, 1, 2, 3, 4]


def test_an_experiment_run_of_ones_own_is_kept(aiplatform: Any) -> None:
    aiplatform.init(experiment="mine", experiment_tensorboard=False)
    aiplatform.start_run("run-1")
    aiplatform.log_params({"lr": 0.5})
    aiplatform.log_metrics({"accuracy": 0.75})
    aiplatform.end_run()

    (row,) = aiplatform.get_experiment_df("mine", include_time_series=False).to_dict("records")

    assert (row["run_name"], row["param.lr"], row["metric.accuracy"]) == ("run-1", 0.5, 0.75)
    assert row["state"] == "COMPLETE"


def test_artifacts_and_executions_have_a_lineage(aiplatform: Any) -> None:
    data = aiplatform.Artifact.create(
        schema_title="system.Dataset", uri="gs://b/data", metadata={"rows": 3}
    )
    model = aiplatform.Artifact.create(schema_title="system.Model", uri="gs://b/model")
    with aiplatform.start_execution(
        schema_title="system.ContainerExecution", display_name="train"
    ) as execution:
        execution.assign_input_artifacts([data])
        execution.assign_output_artifacts([model])

    assert [artifact.uri for artifact in execution.get_input_artifacts()] == ["gs://b/data"]
    assert [artifact.uri for artifact in execution.get_output_artifacts()] == ["gs://b/model"]
    assert [
        artifact.name for artifact in aiplatform.Artifact.list(filter='uri="gs://b/model"')
    ] == [model.name]
    data.update(metadata={"rows": 4})
    assert aiplatform.Artifact.get(data.name).metadata == {"rows": 4}
    model.delete()
    assert [artifact.uri for artifact in aiplatform.Artifact.list()] == ["gs://b/data"]


def test_a_schedule_is_made_fired_paused_resumed_changed_and_deleted(
    aiplatform: Any, job_of: Any, env: VertexStandIn
) -> None:
    schedule = aiplatform.PipelineJobSchedule(
        pipeline_job=job_of("echo", "template"), display_name="nightly"
    )
    schedule.create(
        cron="TZ=Europe/Amsterdam 0 3 * * *", max_concurrent_run_count=2, max_run_count=5
    )

    assert schedule.state.name == "ACTIVE"
    job_id = env.fire(schedule.resource_name)
    (job,) = schedule.list_jobs()
    assert job.name == job_id
    schedule.pause()
    assert aiplatform.PipelineJobSchedule.get(schedule.name).state.name == "PAUSED"
    schedule.resume(catch_up=True)
    schedule.update(display_name="weekly", cron="0 4 * * 1")
    read_schedule = aiplatform.PipelineJobSchedule.get(schedule.name)
    assert (read_schedule.state.name, read_schedule.display_name, read_schedule.cron) == (
        "ACTIVE",
        "weekly",
        "0 4 * * 1",
    )
    assert read_schedule.max_concurrent_run_count == 2
    assert [
        item.name for item in aiplatform.PipelineJobSchedule.list(filter='display_name="weekly"')
    ] == [read_schedule.name]
    schedule.delete()
    assert aiplatform.PipelineJobSchedule.list() == []


def test_the_logging_client_reads_the_logs_of_a_task(
    env: VertexStandIn,
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import logging

    rest.post("pipelineJobs", body_of("echo", {"text": "one\ntwo"}), pipelineJobId="says")
    container = tasks(ended(rest, "says"))["say"]["executorDetail"]["containerDetail"]
    number = container["mainJob"].rpartition("/")[2]
    client = logging.Client(
        project=env.project,
        credentials=AnonymousCredentials(),
        _use_grpc=False,
        client_options={"api_endpoint": env.api_endpoint},
    )
    filter_text = f'resource.type="ml_job" resource.labels.job_id="{number}"'

    entries = list(client.list_entries(filter_=filter_text, page_size=1))
    client.logger("mine").log_text("written here", severity="ERROR")
    (written,) = client.list_entries(
        filter_=f'logName="projects/{env.project}/logs/mine" AND severity>=WARNING'
    )

    assert [entry.payload["message"] for entry in entries] == ["one", "two"]
    assert entries[0].timestamp < entries[1].timestamp
    assert entries[0].resource.labels["job_id"] == number
    assert written.payload == "written here"


def test_the_storage_client_finds_the_bucket_and_what_is_put_there(
    env: VertexStandIn, tmp_path: Path
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(project=env.project, credentials=AnonymousCredentials())
    bucket = client.bucket(env.pipeline_root.split("/")[2])
    assert bucket.exists()

    bucket.blob("runs/job/model.txt").upload_from_string("weights")

    assert client.bucket(bucket.name).blob("runs/job/model.txt").download_as_text() == "weights"
    assert [blob.name for blob in client.list_blobs(bucket.name, prefix="runs/")] == [
        "runs/job/model.txt"
    ]
    env.make_bucket("another")
    assert client.bucket("another").exists()


def test_the_storage_client_reads_an_artifact_of_a_job(
    env: VertexStandIn,
    rest: VertexApi,
    body_of: Callable[..., JsonDict],
    ended: Callable[[VertexApi, str], JsonDict],
    tasks: Callable[[JsonDict], dict[str, JsonDict]],
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    rest.post("pipelineJobs", body_of("two_scores"), pipelineJobId="scores")
    (artifact,) = tasks(ended(rest, "scores"))["evaluate"]["outputs"]["predictions"]["artifacts"]

    assert artifact["uri"].startswith(env.pipeline_root)
    client = storage.Client(project=env.project, credentials=AnonymousCredentials())
    assert storage.Blob.from_uri(artifact["uri"], client=client).download_as_text() == "1,0,1"
