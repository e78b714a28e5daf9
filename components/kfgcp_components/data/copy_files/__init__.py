"""The component `copy_files`. Its `logic` can be imported without kfp."""
