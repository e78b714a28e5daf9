"""The component `train_regressor`. Its `logic` can be imported without kfp."""
