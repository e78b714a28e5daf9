"""The one error that leaves this package."""


class OfflineError(Exception):
    """Terraform could not be run. The message says why, and what to do."""
