"""The component `register_model`. Its `logic` can be imported without kfp."""
