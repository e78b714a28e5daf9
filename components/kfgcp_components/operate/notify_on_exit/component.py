"""The component `notify_on_exit`: a message to a webhook when a run ends.

It is the exit task of a `dsl.ExitHandler`, so it also runs when a task fails or the run is
cancelled. Everything about the webhook is as in `notify`.

## Limits

- Kubeflow Pipelines 2 tells an exit task only the state, and not always the error.
- An exit task that fails makes the run fail. Set `fail=False` when the message is not important.
"""

from kfp import dsl

from kfgcp_components.caching import without_cache


@without_cache
@dsl.component(base_image="base", install_kfp_package=False)  # type: ignore[untyped-decorator]
def notify_on_exit(
    url: str,
    status: dsl.PipelineTaskFinalStatus,
    pipeline: str,
    on: str = "failure",
    run_url: str = "",
    format: str = "json",
    timeout: float = 60.0,
    fail: bool = True,
) -> None:
    """Send a message to a webhook when the tasks of an exit handler have ended.

    Args:
        url: URL of the webhook, or env:NAME for the URL in an environment variable of the task.
        status: How the tasks ended. KFP passes it.
        pipeline: Name of the pipeline, for the text.
        on: One of failure (also cancelled), success, always.
        run_url: A page about the run, which the text ends with.
        format: One of json, slack.
        timeout: Seconds for all attempts together.
        fail: Whether the task fails when the message cannot be delivered.
    """
    from kfgcp_components.logs import log
    from kfgcp_components.operate.notify.logic import WebhookError, send
    from kfgcp_components.operate.notify_on_exit.logic import describe_end

    run_id = str(status.pipeline_job_resource_name).rpartition("/")[2]
    error = status.error_message or ""
    message = describe_end(pipeline, run_id, status.state, error, on=on, run_url=run_url)
    if message is None:
        log(f"no message: the state is {status.state}, and on={on}")
        return
    try:
        send(url, message, format=format, timeout=timeout)
    except WebhookError as problem:
        if fail:
            raise
        log(f"not delivered: {problem}", severity="WARNING")
        return
    log("the webhook took the message")
