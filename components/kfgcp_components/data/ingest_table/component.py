"""The component `ingest_table`: a table from anywhere becomes a Dataset.

The component detects the format from the content of the file, not from its name.

It looks for a relative path in the current folder of the task, then in the folder of
`KFGCP_SUBMIT_DIR`. The local backend sets this variable to the folder in which the run was
submitted. On Vertex AI and Kubeflow, use a URL, because the task runs on another machine.

`gs://` needs `pip install 'kfgcp[gcp]'` and `s3://` needs `pip install 'kfgcp[s3]'`. The client
libraries find the credentials.

## Limits

- The cache knows the URL and not the content. On Vertex AI and Kubeflow, a task with the same URL
  takes the old rows when the object has changed. Switch its cache off with
  `task.set_caching_options(False)`. On this machine, the size and time of a local file count.
- CSV is UTF-8 text, separated by commas, with a header. Empty cells and `#N/A`, `N/A`, `NA`, `NaN`,
  `nan`, `NULL` and `null` are missing values; `None` is text.
- Integers that do not fit in 64 bits become text, and so does a CSV column that mixes types.
- The component reads one file into memory. It does not read a folder of Parquet files.
- An empty file, a table without rows, and duplicated column names are errors.
- Metadata and error messages do not contain the user, password, query and fragment of a URL. But
  the run records the parameter `source` like any other.
"""

from kfp import dsl


@dsl.component(base_image="tabular", install_kfp_package=False)  # type: ignore[untyped-decorator]
def ingest_table(source: str, table: dsl.Output[dsl.Dataset], timeout: float = 60.0) -> None:
    """Read a CSV or Parquet file and write it as a Parquet Dataset.

    Args:
        source: Path, or file://, http(s)://, gs:// or s3:// URL, of a CSV or Parquet file.
        timeout: Seconds that a download over http(s) may take. A longer one fails the task.
        table: The table as Parquet. Metadata: format, rows, columns, kinds, source.
    """
    from kfgcp_components.data.ingest_table.logic import ingest
    from kfgcp_components.logs import log
    from kfgcp_components.outputs import write_files
    from kfgcp_components.tables import write_parquet

    with write_files(table.path) as (table_file,):
        frame, display_name = ingest(source, timeout=timeout)
        table.metadata.update(write_parquet(frame, table_file), source=display_name)
    log(f"read {len(frame)} rows and {len(frame.columns)} columns from {display_name}")
