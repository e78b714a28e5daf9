"""Where a pipeline is in a registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class RegisteredRef:
    """The entry of a registry that a pipeline comes from.

    Attributes:
        ref: the identity of the entry in the registry, see
            `kfgcp.backends.versions.RegisteredVersion.ref`. It never changes.
        version: the version of the pipeline that was pushed. The registry has the text for one
            environment, so the digest of the text can differ. It is `sha256:` and 64 digits, or 32
            when the text differs and only a service knows the version.
        address: the address of the entry for people and for `kfgcp run`. It never changes.
        env: the environment with the registry. "" when it does not matter where the pipeline runs.

    Example:
        >>> RegisteredRef("7", "sha256:ab", "churn@sha256:ab").address
        'churn@sha256:ab'
    """

    ref: str
    version: str
    address: str
    env: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the entry as JSON."""
        return {
            "ref": self.ref,
            "version": self.version,
            "address": self.address,
            "env": self.env,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, str]) -> Self:
        """Return the entry that `to_dict` wrote."""
        return cls(stored["ref"], stored["version"], stored["address"], stored["env"])
