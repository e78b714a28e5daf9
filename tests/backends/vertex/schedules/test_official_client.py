"""Google's own client sees exactly the schedule that was created."""

from collections.abc import Iterator
from typing import Any

import pytest

from kfgcp.backends.schedules import SupportsSchedules
from kfgcp.testing import VertexStandIn
from vertex_schedules import REGISTRY, VERSION, churn, desired_schedule


@pytest.fixture
def aiplatform(cloud: VertexStandIn) -> Iterator[Any]:
    """Return the client of Vertex AI, initialised for the stand-in."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google.cloud.aiplatform import initializer

    aiplatform.init(
        project=cloud.project,
        location=cloud.location,
        api_endpoint=cloud.api_endpoint,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    yield aiplatform
    initializer.global_config.__init__()


def test_the_client_sees_the_schedule_that_was_created(
    aiplatform: Any, cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    desired = desired_schedule(params={"lr": 0.5}, labels={"team": "growth"}, max_active=2)
    ref = schedules.create_schedule(desired, enabled=True, starts_at=None)

    [schedule] = aiplatform.PipelineJobSchedule.list(filter='display_name="daily"')

    resource = schedule.gca_resource
    job = resource.create_pipeline_job_request.pipeline_job
    assert schedule.name == ref.rpartition("/")[2]
    assert (schedule.cron, schedule.state.name) == (
        "CRON_TZ=Europe/Berlin 0 6 * * 1-5",
        "ACTIVE",
    )
    assert (schedule.max_concurrent_run_count, schedule.allow_queueing) == (2, True)
    assert resource.max_concurrent_active_run_count == 2
    assert job.template_uri == f"{REGISTRY}/{VERSION}"
    assert dict(job.runtime_config.parameter_values)["lr"] == 0.5
    assert job.runtime_config.gcs_output_directory == cloud.pipeline_root
    # The labels are the markers, and those of the environment and the pipeline.
    applied = schedules.list_schedules()[0].applied
    labels = dict(job.labels)
    text = labels.pop("kfgcp-text")
    assert len(text) == 32
    assert labels == {
        "kfgcp-project": "shop",
        "kfgcp-schedule": "daily",
        "kfgcp-version": VERSION.removeprefix("sha256:")[:32],
        "kfgcp-applied": applied,
        "experiment": "nightly",
        "env": "dev",
        "team": "growth",
    }
    spec = type(job).to_dict(job)["pipeline_spec"]
    assert spec == churn().pipeline_spec


def test_a_pause_and_an_update_by_the_client_are_seen(
    aiplatform: Any, cloud: VertexStandIn, schedules: SupportsSchedules
) -> None:
    ref = schedules.create_schedule(desired_schedule(), enabled=True, starts_at=None)
    before = schedules.list_schedules()[0]
    schedule = aiplatform.PipelineJobSchedule.get(ref.rpartition("/")[2])

    schedule.update(cron="0 9 * * *")
    schedule.pause()

    after = schedules.list_schedules()[0]
    assert (before.enabled, after.enabled) == (True, False)
    assert after.disabled_at is not None
    assert after.updated_at > before.updated_at
    assert (after.fields["cron"], after.fields["time_zone"]) == ("0 9 * * *", "UTC")
    assert after.applied == before.applied
