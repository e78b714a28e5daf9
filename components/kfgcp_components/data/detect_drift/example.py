"""Find columns that have drifted."""

from kfp import dsl

from kfgcp_components import detect_drift, ingest_table, profile_table


@dsl.pipeline(name="detect-drift-example")
def example(
    training: str = "examples/data/breast_cancer.csv",
    today: str = "examples/data/breast_cancer.csv",
) -> bool:
    """Compare a table with the profile of an earlier one."""
    old = ingest_table(source=training).outputs["table"]
    profile = profile_table(table=old).outputs["profile"]
    new = ingest_table(source=today).outputs["table"]
    drifted: bool = detect_drift(table=new, reference=profile).outputs["drifted"]
    return drifted
