"""Components that bring models to where they are used."""
