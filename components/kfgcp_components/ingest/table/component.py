"""The component `ingest_table`: a table from anywhere becomes a Dataset."""

from kfp import dsl

from kfgcp_components.images import image


@dsl.component(base_image=image("tabular"), install_kfp_package=False)  # type: ignore[untyped-decorator]
def ingest_table(source: str, table: dsl.Output[dsl.Dataset], timeout: float = 60.0) -> None:
    """Read a CSV or Parquet file and write it as a Parquet Dataset.

    Args:
        source: Path, or file://, http(s)://, gs:// or s3:// URL, of a CSV or Parquet file.
        timeout: Seconds that a download over http(s) may take. A longer one fails the task.
        table: The table as Parquet. Metadata: format, rows, columns, kinds, source.
    """
    from kfgcp_components.ingest.table.logic import ingest
    from kfgcp_components.tables import write_parquet

    frame, display_name = ingest(source, timeout=timeout)
    table.metadata.update(write_parquet(frame, table.path), source=display_name)
    print(f"read {len(frame)} rows and {len(frame.columns)} columns from {display_name}")
