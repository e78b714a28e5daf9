"""The settings of an environment for requests to buckets: addresses and time limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kfgcp.config import Environment
from kfgcp.deadlines import REQUEST_SECONDS
from kfgcp.settings import BackendSettings


@dataclass(frozen=True, slots=True)
class BucketSettings:
    """The settings of an environment for its buckets.

    boto3 finds the credentials by itself, so they are not part of the settings.

    Args:
        s3_endpoint: the address for `s3://` and `minio://`. "" means the address in the environment
            variables, and without one the address of Amazon.
        s3_region: the region; "" means that boto3 finds the region.
        s3_addressing: `path` for `ENDPOINT/BUCKET/KEY`, `virtual` for `BUCKET.ENDPOINT/KEY`. ""
            means `path` for a configured endpoint, and `virtual` for Amazon.
        request_seconds: how many seconds a request without a transfer may take, and how long a
            transfer may be without progress.
    """

    s3_endpoint: str = ""
    s3_region: str = ""
    s3_addressing: str = ""
    request_seconds: float = REQUEST_SECONDS

    @classmethod
    def of_environment(cls, env: Environment) -> BucketSettings:
        """Return the settings of an environment of kfgcp.toml."""
        settings = BackendSettings.of(env.settings)
        return cls(
            s3_endpoint=settings.s3_endpoint or "",
            s3_region=settings.s3_region or "",
            s3_addressing=settings.s3_addressing or "",
            request_seconds=float(settings.request_seconds),
        )

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> BucketSettings:
        """Return settings that `to_dict` wrote. Keys that are missing have their defaults."""
        return cls(**stored)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON, for a process that executes a run."""
        return asdict(self)

    @property
    def endpoint(self) -> str | None:
        """The address of the S3 server; None when boto3 uses its own configuration file."""
        if self.s3_endpoint:
            return self.s3_endpoint
        # These are the variables that boto3 reads, in its order.
        variable = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return variable or None


DEFAULTS = BucketSettings()
