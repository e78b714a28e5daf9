"""The component `evaluate_slices`. Its `logic` can be imported without kfp."""
