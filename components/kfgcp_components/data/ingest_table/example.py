"""Read a table."""

from kfp import dsl

from kfgcp_components import ingest_table


@dsl.pipeline(name="ingest-table-example")
def example(source: str = "examples/data/breast_cancer.csv") -> None:
    """Read a CSV file of this project."""
    ingest_table(source=source)
