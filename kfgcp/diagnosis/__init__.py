"""Checks of `kfgcp doctor` that several backends use. Each module has one subject."""
