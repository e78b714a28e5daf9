"""The component `split_table`. Its `logic` can be imported without kfp."""
