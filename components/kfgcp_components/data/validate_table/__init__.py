"""The component `validate_table`. Its `logic` can be imported without kfp."""
