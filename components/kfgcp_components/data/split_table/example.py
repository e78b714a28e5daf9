"""Split a table."""

from kfp import dsl

from kfgcp_components import ingest_table, split_table


@dsl.pipeline(name="split-table-example")
def example(source: str = "examples/data/breast_cancer.csv") -> None:
    """Keep a fifth of the rows for tests."""
    table = ingest_table(source=source).outputs["table"]
    split_table(table=table, target="diagnosis", test_fraction=0.2, seed=7)
