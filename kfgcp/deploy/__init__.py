"""What outlives one command: the images of a project."""
