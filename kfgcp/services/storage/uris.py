"""URIs of objects and of folders in a bucket: `gs://BUCKET/KEY`, and likewise s3 and minio."""

from __future__ import annotations

from typing import Final

EXTRAS = {"gs": "gcp", "s3": "s3", "minio": "s3"}

_SIGN_IN: Final = {
    "gs": "Sign in: gcloud auth application-default login",
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
    "minio": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those of the MinIO server.",
}


def sign_in_hint(uri: str) -> str:
    """Return how to sign in to the store of a URI."""
    return _SIGN_IN[uri.partition("://")[0]]


def is_bucket_uri(uri: str) -> bool:
    """Whether it names something in a bucket."""
    return uri.partition("://")[0] in EXTRAS and "://" in uri
