"""The component `promote_model`. Its `logic` can be imported without kfp."""
