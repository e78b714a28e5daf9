"""Describe a table."""

from kfp import dsl

from kfgcp_components import ingest_table, profile_table


@dsl.pipeline(name="profile-table-example")
def example(source: str = "examples/data/breast_cancer.csv") -> None:
    """Look at each column of a table."""
    table = ingest_table(source=source).outputs["table"]
    profile_table(table=table)
