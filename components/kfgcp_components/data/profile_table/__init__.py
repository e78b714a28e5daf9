"""The component `profile_table`. Its `logic` can be imported without kfp."""
