"""The component `notify_on_exit`. Its `logic` can be imported without kfp."""
