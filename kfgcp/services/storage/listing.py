"""Lists the objects of a bucket. All functions obey the deadline of the calling code."""

from __future__ import annotations

from kfgcp.deadlines import DeadlineError, current_deadline
from kfgcp.services.storage.bucket import Bucket, StoredObject


def list_objects(bucket: Bucket, prefix: str, limit: int) -> list[StoredObject]:
    """Return at most `limit` objects whose keys begin with a prefix, in the order of the service.

    Raises:
        DeadlineError: the list did not end in time.
        Exception: an error of the client library.
    """
    objects: list[StoredObject] = []
    deadline = current_deadline()
    for page in bucket.pages(prefix, limit):
        objects.extend(page)
        if len(objects) >= limit:
            break
        # Each request obeys the deadline by itself. This check ends a list of endless pages.
        if deadline is not None and deadline.has_passed:
            raise DeadlineError(f"the list did not end within {deadline.seconds:g} s")
    return objects[:limit]


def folder_prefix(key: str) -> str:
    """Return what the keys of the objects in a folder begin with, "" for the whole bucket.

    Example:
        >>> folder_prefix("models/a"), folder_prefix("models/a/"), folder_prefix("")
        ('models/a/', 'models/a/', '')
    """
    if not key.strip("/"):
        return ""
    return f"{key.rstrip('/')}/"


def find_object(bucket: Bucket, key: str) -> StoredObject | None:
    """Return the object with a key, None when there is none or the key can only be a folder."""
    if not key.strip("/") or key.endswith("/"):
        return None
    return bucket.find(key)


def exists(bucket: Bucket, key: str) -> bool:
    """Return whether there is an object with a key, or one below it."""
    if find_object(bucket, key) is not None:
        return True
    return bool(list_objects(bucket, folder_prefix(key), limit=1))
