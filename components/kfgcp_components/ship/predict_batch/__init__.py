"""The component `predict_batch`. Its `logic` can be imported without kfp."""
