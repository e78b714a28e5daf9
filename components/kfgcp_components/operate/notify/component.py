"""The component `notify`: a message to a webhook, such as a channel of Slack.

The component tries again while the service is not ready: after connection errors, 408, 429 and 5xx,
until `timeout`. All attempts have the same header `Idempotency-Key`. Other statuses and redirects
fail the task at once.

With `url="env:SLACK_URL"` the component reads the URL from an environment variable of the task. Use
this for a URL that is a secret, because a run records its parameters. Error messages contain only
the host.

| `format` | Body |
| --- | --- |
| `json` | `{"text": "…", …}` with the members of `facts` |
| `slack` | `{"text": "…"}`, with `&`, `<` and `>` escaped |

## Limits

- A cached task would send nothing, so the task is not cached. `kfgcp run --cache` switches the
  cache on for all tasks, also for this one.
- To send a message at the end of a run, also of a failed one, use `notify_on_exit`.
"""

from kfp import dsl

from kfgcp_components.caching import without_cache


@without_cache
@dsl.component(base_image="base", install_kfp_package=False)  # type: ignore[untyped-decorator]
def notify(
    url: str,
    text: str,
    facts: dict = {},  # type: ignore[type-arg]  # noqa: B006 - KFP takes the default from here
    format: str = "json",
    timeout: float = 60.0,
) -> None:
    """Send a message to a webhook.

    Args:
        url: URL of the webhook, or env:NAME for the URL in an environment variable of the task.
        text: The text for people.
        facts: More members of the body for programs. Only the format json sends them.
        format: One of json, slack.
        timeout: Seconds for all attempts together.
    """
    from kfgcp_components.logs import log
    from kfgcp_components.operate.notify.logic import Message, send

    send(url, Message(text, facts), format=format, timeout=timeout)
    log("the webhook took the message")
