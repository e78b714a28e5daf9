"""Passwords in URLs are not shown."""

import pytest

from kfgcp.spec.credentials import has_credentials, mask_credentials


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("error: http://bob:pw@127.0.0.1:9/simple and https://h/a@b", "error: http://***@127.0.0.1:9/simple and https://h/a@b"),
        ("https://token@index.acme.example", "https://***@index.acme.example"),
        ("https://bob:p@ss@index.acme.example/x", "https://***@index.acme.example/x"),
        ("git+ssh://git@github.example/a/b@main", "git+ssh://***@github.example/a/b@main"),
        ("'https://a:b@h','https://c:d@h'", "'https://***@h','https://***@h'"),
        ("https://index.acme.example/simple?mail=a@b", "https://index.acme.example/simple?mail=a@b"),
        ("nobody@acme.example // no url", "nobody@acme.example // no url"),
    ],
)  # fmt: skip
def test_users_and_passwords_of_urls_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked
    assert has_credentials(text) is (text != masked)


def test_a_known_password_is_masked_wherever_it_stands() -> None:
    known = ["--index-url https://bob:hunter%2F2222@index.acme.example/simple"]

    shown = mask_credentials("refused bob:hunter/2222 and hunter%2F2222, bob is unknown", known)

    assert shown == "refused *** and ***, bob is unknown"


def test_a_short_password_does_not_change_other_words() -> None:
    assert mask_credentials("a parcel, u:a", ["https://u:a@h"]) == "a parcel, ***"
