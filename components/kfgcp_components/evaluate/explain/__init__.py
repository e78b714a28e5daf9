"""The component `explain_model`. Its `logic` can be imported without kfp."""
