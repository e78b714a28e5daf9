"""Components that bring data into a pipeline."""
