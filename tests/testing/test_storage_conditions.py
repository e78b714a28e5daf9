"""Google's client of Cloud Storage, with conditions on generations, against the stand-in.

Expected behaviour: cloud.google.com/storage/docs/request-preconditions.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from kfgcp.testing import VertexStandIn


@pytest.fixture
def blob(instant: VertexStandIn) -> Any:
    """Return an object that does not exist yet."""
    client = storage.Client(project=instant.project, credentials=AnonymousCredentials())
    return client.bucket(instant.bucket).blob("locks/one.json")


def test_an_object_is_created_only_once(blob: Any) -> None:
    blob.upload_from_string("one", if_generation_match=0)

    with pytest.raises(PreconditionFailed):
        blob.upload_from_string("two", if_generation_match=0)

    assert blob.download_as_text() == "one"


def test_an_object_is_replaced_only_with_its_generation(blob: Any) -> None:
    blob.upload_from_string("one")
    first = blob.generation
    blob.upload_from_string("two", if_generation_match=first)

    with pytest.raises(PreconditionFailed):
        blob.upload_from_string("three", if_generation_match=first)

    assert blob.download_as_text() == "two"


def test_an_object_is_deleted_only_with_its_generation(blob: Any) -> None:
    blob.upload_from_string("one")
    first = blob.generation
    blob.upload_from_string("two")
    second = blob.generation

    with pytest.raises(PreconditionFailed):
        blob.delete(if_generation_match=first)
    assert blob.exists()

    blob.delete(if_generation_match=second)
    assert not blob.exists()
    with pytest.raises(NotFound):
        blob.delete(if_generation_match=second)


def test_an_object_is_read_only_with_its_generation(blob: Any) -> None:
    blob.upload_from_string("one")
    first = blob.generation
    blob.upload_from_string("two")

    with pytest.raises(PreconditionFailed):
        blob.download_as_text(if_generation_match=first)

    assert blob.download_as_text(if_generation_match=blob.generation) == "two"
