"""Define the only error that this package raises to its callers."""


class OfflineError(Exception):
    """Terraform could not be run. The message says why, and what to do."""
