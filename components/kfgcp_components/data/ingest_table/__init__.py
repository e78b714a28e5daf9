"""The component `ingest_table`. Its `logic` can be imported without kfp."""
