"""Where a pipeline is in a registry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RegisteredRef:
    """The entry of a registry that a pipeline comes from.

    Attributes:
        ref: the identity of the entry in the registry, see
            `kfgcp.backends.versions.RegisteredVersion.ref`. It never changes.
        version: the version of the pipeline that was pushed: `sha256:` and 64 digits. The registry
            has the text for one environment, so the digest of the text can differ.
        address: the address of the entry for people and for `kfgcp run`. It never changes.

    Example:
        >>> RegisteredRef("7", "sha256:ab", "churn@sha256:ab").address
        'churn@sha256:ab'
    """

    ref: str
    version: str
    address: str
