"""Where the buckets of an environment are, and how long an answer may take."""

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
    """The settings of an environment for its buckets. Credentials are not among them: boto3 finds
    them by itself.

    Args:
        s3_endpoint: the address for `s3://` and `minio://`; "" is what the environment variables
            say, else Amazon's.
        s3_region: "" is what boto3 finds.
        s3_addressing: `path` for `ENDPOINT/BUCKET/KEY`, `virtual` for `BUCKET.ENDPOINT/KEY`. With
            "" it is `path` at an endpoint, and `virtual` at Amazon's own.
        request_seconds: how long a look may take, and how long a transfer may stay without
            progress.
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
        """Return settings that `to_dict` wrote; {} are the defaults."""
        return cls(**stored)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def endpoint(self) -> str | None:
        """The address of the S3 server. None is left to boto3, which also reads its own file for
        it."""
        variables = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return self.s3_endpoint or variables or None


DEFAULTS = BucketSettings()
