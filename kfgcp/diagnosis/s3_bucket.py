"""The bucket of runs, when it is on S3 or on a server that speaks its protocol."""

from __future__ import annotations

from dataclasses import replace

from kfgcp.bucket_settings import BucketSettings
from kfgcp.config import Environment
from kfgcp.diagnosis.checks import Aside
from kfgcp.diagnosis.connection import SECONDS
from kfgcp.errors import BackendError
from kfgcp.services.storage.permissions import (
    MissingBucketError,
    SignInProblem,
    refused_permissions,
)
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.services.storage.uris import sign_in_hint

SCHEMES = ("s3://", "minio://")


def is_on_s3(root: str) -> bool:
    """Return whether a pipeline root is on S3, or on a server that speaks its protocol."""
    return root.startswith(SCHEMES)


def check_bucket(root: str, env: Environment) -> str | Aside:
    """Return whether the bucket of a pipeline root is there, and whether this machine can use it.

    The pods of runs have their own credentials, so it does not stop a run when this machine cannot
    use the bucket.

    Args:
        root: `s3://BUCKET/FOLDER` or `minio://BUCKET/FOLDER`.
        env: has the settings `s3_endpoint`, `s3_region` and `s3_addressing`.

    Raises:
        BackendError: there is no such bucket.
    """
    scheme, _, rest = root.partition("://")
    name = rest.partition("/")[0]
    settings = BucketSettings.of_environment(env)
    settings = replace(settings, request_seconds=min(settings.request_seconds, SECONDS))
    try:
        refused = refused_permissions(root, settings)
    except MissingBucketError:
        endpoint = f" --endpoint-url {settings.endpoint}" if settings.endpoint else ""
        raise BackendError(
            f"There is no bucket '{name}'.", hint=f"aws s3 mb s3://{name}{endpoint}"
        ) from None
    except SignInProblem as problem:
        return Aside(f"not checked: {problem}", sign_in_hint(root))
    except StorageProblem as problem:
        return Aside(f"not checked: {problem}")
    if not refused:
        return f"{scheme}://{name} can be written and read"
    permissions = ", ".join(refused)
    reason = next(iter(refused.values()))
    return Aside(
        f"not known whether runs can use it. You lack {permissions} on {scheme}://{name}: {reason}",
        sign_in_hint(root),
    )
