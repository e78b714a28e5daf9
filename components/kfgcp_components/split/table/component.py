"""The component `split_table`: a training set and a test set from one table."""

from kfp import dsl

from kfgcp_components.images import image


@dsl.component(base_image=image("tabular"), install_kfp_package=False)  # type: ignore[untyped-decorator]
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
    from kfgcp_components.split.table.logic import split
    from kfgcp_components.tables import read_parquet, write_parquet

    frame = read_parquet(table.path)
    parts = split(frame, target, test_fraction=test_fraction, stratify=stratify, seed=seed)
    train.metadata.update(write_parquet(parts.train, train.path), part="train", **parts.facts)
    test.metadata.update(write_parquet(parts.test, test.path), part="test", **parts.facts)
    print(f"{len(parts.train)} rows to train, {len(parts.test)} rows to test; {parts.facts}")
