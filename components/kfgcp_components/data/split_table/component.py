"""The component `split_table`: a training set and a test set from one table.

The same table and seed give the same split. The number of rows in the test set is rounded up.

The metadata of both outputs has the values of every table, and also `part`, `target`,
`test_fraction`, `seed`, `stratified` (true if the split was stratified) and `rows_without_target`
(the number of dropped rows).

## Limits

- In a stratified split, a class with a single row goes to the training set.
- When a set is too small to contain every other class, the split is random and `stratified` is
  false.
- The split treats rows as independent. It does not support groups or a time order.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def split_table(
    table: dsl.Input[dsl.Dataset],
    target: str,
    train: dsl.Output[dsl.Dataset],
    test: dsl.Output[dsl.Dataset],
    test_fraction: float = 0.25,
    stratify: bool = True,
    seed: int = 0,
) -> None:
    """Split a table at random into a training set and a test set.

    Args:
        table: The table, as Parquet.
        target: Name of the column to predict. Rows without a value in it are dropped.
        test_fraction: Share of the rows that goes to the test set, between 0 and 1, both excluded.
        stratify: Whether both sets keep the shares of the target's classes, where the classes allow
            it.
        seed: Seed of the random choice. The same seed and table give the same split.
        train: The training set. Metadata: that of a table, and how it was split.
        test: The test set, with the same metadata.
    """
    from kfgcp_components.data.split_table.logic import split
    from kfgcp_components.tables import read_parquet, write_parquet

    frame = read_parquet(table.path)
    parts = split(frame, target, test_fraction=test_fraction, stratify=stratify, seed=seed)
    train.metadata.update(write_parquet(parts.train, train.path), part="train", **parts.facts)
    test.metadata.update(write_parquet(parts.test, test.path), part="test", **parts.facts)
    print(f"{len(parts.train)} rows to train, {len(parts.test)} rows to test; {parts.facts}")
