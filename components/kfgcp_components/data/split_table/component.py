"""The component `split_table`: a training set and a test set from one table.

The same table and seed give the same split. The number of rows in the test set is rounded up. Three
ways to split exclude each other:

| Option | The test set |
| --- | --- |
| none of the two below | random rows; both sets keep the shares of the classes |
| `time_column` | the newest rows; rows of the same time stay together |
| `group_column` | whole groups at random, such as all orders of a customer |

Use `time_column` for a model that predicts the future. Use `group_column` when rows of the same
group resemble each other, because a model would otherwise recognize the groups of its training set.

The metadata of both outputs has the values of every table, and also `part`, `target`,
`test_fraction`, `seed`, `split_by` (`random`, `time` or `group`) and `rows_without_target` (the
number of dropped rows). A random split has `stratified`, a split by time has `time_column` and
`test_begins_at`, a split by group has `group_column`.

## Limits

- In a stratified split, a class with a single row goes to the training set.
- When a set is too small to contain every other class, the split is random and `stratified` is
  false.
- A time is a date, a number, or text such as `2026-03-01T12:30:00Z`. A time without a zone is UTC.
- Rows of the same time go to the test set, which can then be larger than `test_fraction`.
- A test set of whole groups can be smaller than `test_fraction`. If each group is
  larger, the test set is the smallest group.
- A row without a time or a group is an error.
"""

from typing import Optional

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def split_table(
    table: dsl.Input[dsl.Dataset],
    target: str,
    train: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    test_fraction: float = 0.25,
    stratify: Optional[bool] = None,  # noqa: UP045 - KFP does not know `bool | None`
    seed: int = 0,
    time_column: str = "",
    group_column: str = "",
) -> None:
    """Split a table into a training set and a test set: at random, by time or by group.

    Args:
        table: The table, as Parquet.
        target: Name of the column to predict. Rows without a value in it are dropped.
        test_fraction: Share of the rows that goes to the test set, between 0 and 1, both excluded.
        stratify: Whether both sets keep the shares of the target's classes, where the classes allow
            it. Without a value, a random split does. Splits by time or by group cannot.
        seed: Seed of the random choice. The same seed and table give the same split.
        time_column: Name of a column with times. The newest rows are the test set.
        group_column: Name of a column. All rows with the same value in it are in the same set.
        train: The training set. Metadata: that of a table, and how it was split.
        test: The test set, with the same metadata.
    """
    from kfgcp_components.data.split_table.logic import split
    from kfgcp_components.logs import log
    from kfgcp_components.outputs import write_files
    from kfgcp_components.tables import read_parquet, write_parquet

    frame = read_parquet(table.path)
    parts = split(
        frame,
        target,
        test_fraction=test_fraction,
        stratify=stratify,
        seed=seed,
        time_column=time_column,
        group_column=group_column,
    )
    with write_files(train.path, test.path) as (train_file, test_file):
        train.metadata.update(write_parquet(parts.train, train_file), part="train", **parts.facts)
        test.metadata.update(write_parquet(parts.test, test_file), part="test", **parts.facts)
    message = f"{len(parts.train)} rows to train, {len(parts.test)} rows to test"
    dropped = parts.facts["rows_without_target"]
    if dropped:
        message += f"; {dropped} rows have no target, and were left out"
    log(message, "INFO", **parts.facts)
