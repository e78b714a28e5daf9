"""The component `gate_model`. Its `logic` can be imported without kfp."""
