"""Infer a schema from a table, and check another table with it."""

from kfp import dsl

from kfgcp_components import ingest_table, validate_table


@dsl.pipeline(name="validate-table-example")
def example(
    training: str = "examples/data/breast_cancer.csv",
    today: str = "examples/data/breast_cancer.csv",
) -> bool:
    """Check whether the data of today has the columns, types and labels of the training."""
    old = ingest_table(source=training).outputs["table"]
    schema = validate_table(table=old, infer=True).outputs["used_schema"]
    new = ingest_table(source=today).outputs["table"]
    valid: bool = validate_table(table=new, schema_file=schema, fail=False).outputs["valid"]
    return valid
