"""Components that tell people and programs what happened."""
