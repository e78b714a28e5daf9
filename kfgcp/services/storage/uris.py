"""Split the URIs of objects and folders in a bucket: `gs://BUCKET/KEY`, `s3://…`, `minio://…`."""

from __future__ import annotations

from typing import Final

# The extra of kfgcp that installs the client library for a scheme.
EXTRAS: Final = {"gs": "gcp", "s3": "s3", "minio": "s3"}

_SIGN_IN_HINTS: Final = {
    "gs": "Sign in: gcloud auth application-default login",
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
    "minio": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to the keys of the MinIO server.",
}


def is_bucket_uri(uri: str) -> bool:
    """Return whether a text is the URI of a bucket, or of an object or a folder in a bucket.

    Example:
        >>> is_bucket_uri("gs://models/a"), is_bucket_uri("/data/a"), is_bucket_uri("oci://image")
        (True, False, False)
    """
    scheme, separator, _ = uri.partition("://")
    return bool(separator) and scheme in EXTRAS


def split_uri(uri: str) -> tuple[str, str, str]:
    """Split a URI into the scheme, the bucket and the key. A part that is missing is "".

    Example:
        >>> split_uri("gs://models/2024/a.bin")
        ('gs', 'models', '2024/a.bin')
    """
    scheme, _, path = uri.partition("://")
    bucket, _, key = path.partition("/")
    return scheme, bucket, key


def sign_in_hint(uri: str) -> str:
    """Return the hint how to sign in to the store of a URI."""
    scheme, _, _ = split_uri(uri)
    return _SIGN_IN_HINTS[scheme]
