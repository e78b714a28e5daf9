"""Components that split data."""
