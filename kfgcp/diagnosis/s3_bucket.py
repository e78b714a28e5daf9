"""Check a bucket for runs that is on S3, or on a server with the same protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

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
from kfgcp.services.storage.uris import sign_in_hint, split_uri

SCHEMES: Final = ("s3://", "minio://")


def is_on_s3(root: str) -> bool:
    """Return whether a pipeline root is on S3, or on a server with the same protocol."""
    return root.startswith(SCHEMES)


def check_bucket(root: str, env: Environment) -> str | Aside:
    """Check that the bucket of a pipeline root exists, and that this machine can use it.

    The pods of runs have their own credentials, so a run can succeed although this machine cannot
    use the bucket. In that case the function returns an `Aside`.

    Args:
        root: `s3://BUCKET/FOLDER` or `minio://BUCKET/FOLDER`.
        env: the environment, with the settings `s3_endpoint`, `s3_region` and `s3_addressing`.

    Raises:
        BackendError: the bucket does not exist.
    """
    scheme, name, _ = split_uri(root)
    settings = BucketSettings.of_environment(env)
    settings = replace(settings, request_seconds=min(settings.request_seconds, SECONDS))
    try:
        answers_by_permission = refused_permissions(root, settings)
    except MissingBucketError:
        raise BackendError(
            f"There is no bucket '{name}'.", hint=_create_command(name, settings)
        ) from None
    except SignInProblem as problem:
        return Aside(f"not checked: {problem}", sign_in_hint(root))
    except StorageProblem as problem:
        return Aside(f"not checked: {problem}")
    bucket = f"{scheme}://{name}"
    if not answers_by_permission:
        return f"{bucket} can be written and read"
    permissions = ", ".join(answers_by_permission)
    first_answer = next(iter(answers_by_permission.values()))
    return Aside(
        f"kfgcp does not know whether runs can use the bucket. You do not have {permissions} on"
        f" {bucket}: {first_answer}",
        sign_in_hint(root),
    )


def _create_command(bucket: str, settings: BucketSettings) -> str:
    command = f"aws s3 mb s3://{bucket}"
    if settings.endpoint:
        command += f" --endpoint-url {settings.endpoint}"
    return command
