"""The component `notify`. Its `logic` can be imported without kfp."""
