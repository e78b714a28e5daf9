"""Guesses about Artifact Registry on which kfgcp must not depend, and lost answers."""

import hashlib
import itertools
from dataclasses import replace

import pytest

from kfgcp import testing
from kfgcp.backends.versions import SupportsVersions
from registered_versions import (
    FILE,
    OTHER_TEXT,
    TEXT,
    TEXT_TAG,
    UPLOAD,
    UPLOADS,
    VERSION,
    VERSION_TAG,
    counts,
    files,
    tags,
)


def test_a_service_that_names_versions_by_another_digest_works(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    cloud.artifact_registry.digest = lambda content: hashlib.sha256(content[::-1]).hexdigest()

    entry = registry.upload(UPLOAD)
    since = len(cloud.requests)

    assert registry.upload(UPLOAD) == entry
    assert counts(cloud, since)[1] == 0
    assert registry.read_text(entry) == TEXT


@pytest.mark.parametrize("fault", ["lost", "503", "garbage", "429", "reset"])
def test_an_answer_that_is_lost_adds_no_second_entry(
    cloud: testing.VertexStandIn, registry: SupportsVersions, fault: str
) -> None:
    # Each upload would be another version, so a repeated upload would show.
    numbers = itertools.count()
    cloud.artifact_registry.digest = lambda content: f"{next(numbers):064x}"
    cloud.fail_next(fault, method="POST", path=UPLOADS)

    entry = registry.upload(UPLOAD)

    assert files(cloud) == [FILE]
    assert tags(cloud) == {VERSION_TAG: entry.ref, TEXT_TAG: entry.ref}


def test_two_lost_answers_add_one_entry(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    cloud.fail_next("503", method="POST", path=UPLOADS)
    cloud.fail_next("lost", method="POST", path=UPLOADS)

    entry = registry.upload(UPLOAD)

    assert files(cloud) == [FILE]
    assert tags(cloud) == {VERSION_TAG: entry.ref, TEXT_TAG: entry.ref}


def test_a_service_that_ignores_the_tags_of_an_upload_gets_them_afterwards(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    cloud.artifact_registry.takes_tags = False
    registry.upload(replace(UPLOAD, text=OTHER_TEXT))

    entry = registry.upload(UPLOAD)

    assert tags(cloud)[VERSION_TAG] == tags(cloud)[TEXT_TAG] == entry.ref


def test_a_list_without_tags_is_completed_by_the_list_of_tags(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    cloud.artifact_registry.shows_related_tags = False

    entry = registry.upload(UPLOAD)

    assert [listed.has_version(VERSION) for listed in registry.list_versions("churn")] == [True]
    assert registry.upload(UPLOAD) == entry


def test_a_version_with_more_tags_than_a_list_shows_has_all_of_them(
    cloud: testing.VertexStandIn, registry: SupportsVersions
) -> None:
    names = [f"a{number:03}" for number in range(150)]
    cloud.publish("churn", FILE, *names)
    entry = registry.upload(UPLOAD)

    [listed] = registry.list_versions("churn")

    assert entry.tags == listed.tags == tuple(names)


@pytest.mark.parametrize("is_empty", [False, True], ids=["404", "an empty list"])
def test_a_pipeline_that_the_registry_does_not_have_has_no_versions(
    cloud: testing.VertexStandIn, registry: SupportsVersions, is_empty: bool
) -> None:
    cloud.artifact_registry.answers_for_missing_packages = is_empty

    assert registry.list_versions("churn") == []
    assert registry.upload(UPLOAD).has_version(VERSION)
