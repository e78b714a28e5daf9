"""The component `detect_drift`. Its `logic` can be imported without kfp."""
