"""Send a message."""

from kfp import dsl

from kfgcp_components import ingest_table, notify


@dsl.pipeline(name="notify-example")
def example(url: str = "env:SLACK_URL", source: str = "examples/data/breast_cancer.csv") -> None:
    """Tell a channel of Slack that new data has arrived."""
    table = ingest_table(source=source)
    notify(url=url, text="new data has arrived", format="slack").after(table)
