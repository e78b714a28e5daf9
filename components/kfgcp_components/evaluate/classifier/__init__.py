"""The component `evaluate_classifier`. Its `logic` can be imported without kfp."""
