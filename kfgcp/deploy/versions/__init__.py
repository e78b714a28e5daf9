"""Versions of pipelines in registries: names, push, and the way from a name to a pipeline."""
