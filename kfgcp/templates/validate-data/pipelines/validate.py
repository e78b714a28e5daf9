"""Check a table against schema.json, describe it, and fail when it does not fit."""

import json
from pathlib import Path

from kfp import dsl
from kfp.dsl import Artifact, Input

from kfgcp_components import ingest_table, profile_table, validate_table

# The schema is a part of the compiled pipeline, so each run says which one it used.
SCHEMA = json.loads(Path(__file__).with_name("schema.json").read_text())


@dsl.component(base_image="base", install_kfp_package=False)
def refuse(violations: Input[Artifact]) -> None:
    """Fail, and name the columns that do not fit.

    Args:
        violations: What `validate_table` found.
    """
    import json

    with open(violations.path) as file:
        failed_checks = json.load(file)["violations"]
    for failed_check in failed_checks:
        print(json.dumps(failed_check))
    columns = sorted({failed_check["column"] for failed_check in failed_checks})
    raise ValueError(f"{len(failed_checks)} checks fail, in these columns: {', '.join(columns)}")


@dsl.pipeline(name="validate")
def validate(data: str, describe: bool = True) -> bool:
    """Check a table.

    Args:
        data: Path or address of a CSV or Parquet file.
        describe: Whether to describe each column of the table.
    """
    # The cache knows only the address of the data, not its content.
    table = ingest_table(source=data).set_caching_options(False).outputs["table"]
    checked = validate_table(table=table, schema=SCHEMA, fail=False)
    with dsl.If(checked.outputs["valid"] == False):  # noqa: E712 - KFP needs the comparison
        refuse(violations=checked.outputs["violations"])
    with dsl.If(describe == True):  # noqa: E712
        profile_table(table=table)
    return checked.outputs["valid"]
