"""The component `evaluate_regressor`. Its `logic` can be imported without kfp."""
