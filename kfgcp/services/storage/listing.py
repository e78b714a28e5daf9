"""List the objects of a bucket, and find single objects, within the deadline of the caller."""

from __future__ import annotations

from kfgcp.deadlines import DeadlineError, current_deadline
from kfgcp.services.storage.bucket import Bucket, StoredObject


def list_objects(bucket: Bucket, prefix: str, limit: int) -> list[StoredObject]:
    """Return the first objects whose keys begin with a prefix, in the order of the service.

    Args:
        bucket: the bucket.
        prefix: the prefix, "" for all objects.
        limit: the most objects to return.

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
        # The sockets stop each request at the deadline. This check stops a list that has no end.
        if deadline is not None and deadline.has_passed:
            raise DeadlineError(f"the list did not end within {deadline.seconds:g} s")
    return objects[:limit]


def folder_prefix(key: str) -> str:
    """Return the prefix of all keys in a folder, "" for the whole bucket.

    Example:
        >>> folder_prefix("models/a"), folder_prefix("models/a/"), folder_prefix("")
        ('models/a/', 'models/a/', '')
    """
    if not key.strip("/"):
        return ""
    return f"{key.rstrip('/')}/"


def find_object(bucket: Bucket, key: str) -> StoredObject | None:
    """Return the object with a key, None without such an object. A folder is not an object."""
    if not key.strip("/") or key.endswith("/"):
        return None
    return bucket.find(key)


def exists(bucket: Bucket, key: str) -> bool:
    """Return whether the bucket has an object with a key, or objects in a folder with this key."""
    if find_object(bucket, key) is not None:
        return True
    return bool(list_objects(bucket, folder_prefix(key), limit=1))
