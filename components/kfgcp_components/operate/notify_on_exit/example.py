"""Send a message when a run ends."""

from kfp import dsl

from kfgcp_components import ingest_table, notify_on_exit


@dsl.pipeline(name="notify-on-exit-example")
def example(url: str = "env:SLACK_URL", source: str = "examples/data/breast_cancer.csv") -> None:
    """Tell a channel of Slack how the run ended."""
    message = notify_on_exit(url=url, pipeline="notify-on-exit-example", on="always")
    with dsl.ExitHandler(message):
        ingest_table(source=source)
