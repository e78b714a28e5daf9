"""The component `fetch_model`. Its `logic` can be imported without kfp."""
