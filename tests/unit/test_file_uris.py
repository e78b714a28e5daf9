"""URIs of files on this machine."""

import os
from pathlib import Path

import pytest

from kfgcp import file_uris


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///data/a%20b", "/data/a b"),
        ("file:///data/for-loop%5B0%5D", "/data/for-loop[0]"),
        ("file:///data/100%25", "/data/100%"),
        ("file://localhost/data/a", "/data/a"),  # RFC 8089, appendix B
        ("file:///data/a#b?c", "/data/a#b?c"),
        ("file://data/a", "data/a"),
        ("/data/a%20b", "/data/a%20b"),
        ("data%20b", "data%20b"),
        ("gs://bucket/a%20b", "gs://bucket/a%20b"),
        ("file:///data/\ud800%20", "/data/\ud800%20"),  # no name of a file
    ],
)
def test_only_the_escapes_of_a_uri_are_decoded(uri: str, path: str) -> None:
    assert file_uris.to_path(uri) == path
    assert file_uris.is_file_uri(uri) == uri.startswith("file:")


@pytest.mark.parametrize(
    "name", [b"a b", b"100%", b"%41", b"[0]", b"a#b?c;d", "ä".encode(), b"\xff"]
)
def test_the_uri_that_python_makes_of_a_path_means_that_path(name: bytes) -> None:
    path = Path("/data", os.fsdecode(name))

    assert file_uris.to_path(path.as_uri()) == str(path)
