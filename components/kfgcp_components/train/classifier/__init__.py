"""The component `train_classifier`. Its `logic` can be imported without kfp."""
