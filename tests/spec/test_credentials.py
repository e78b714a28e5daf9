"""Passwords in URLs are not shown."""

import pytest

from kfgcp.spec.credentials import has_credentials, mask_credentials


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            "error: http://bob:pw@127.0.0.1:9/simple and https://h/a@b",
            "error: http://***@127.0.0.1:9/simple and https://h/a@b",
        ),
        ("https://token@index.acme.example", "https://***@index.acme.example"),
        ("https://bob:p@ss@index.acme.example/x", "https://***@index.acme.example/x"),
        ("git+ssh://git@github.example/a/b@main", "git+ssh://***@github.example/a/b@main"),
        ("'https://a:b@h','https://c:d@h'", "'https://***@h','https://***@h'"),
        (
            "https://index.acme.example/simple?mail=a@b",
            "https://index.acme.example/simple?mail=a@b",
        ),
        ("nobody@acme.example // no url", "nobody@acme.example // no url"),
    ],
)  # fmt: skip
def test_users_and_passwords_of_urls_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


@pytest.mark.parametrize(
    ("value", "text", "masked"),
    [
        (
            "--index-url https://bob:p#wsecret@h:9/simple",
            "'https://bob:p#wsecret@h:9/simple'",
            "'https://***@h:9/simple'",
        ),
        (
            "-i https://bob:12/34@h.example/simple",
            "for https://bob:12/34@h.example/simple",
            "for https://***@h.example/simple",
        ),
        (
            "-i https://bob:p?q@h.example/",
            "for https://bob:p?q@h.example/",
            "for https://***@h.example/",
        ),
        (
            "-i https://tok/en9876@h.example/",
            "for https://tok/en9876@h.example/",
            "for https://***@h.example/",
        ),
        (
            "-i https://bob:p wsecret@h/",
            "https://bob:p wsecret@h/ https://bob:p%20wsecret@h/",
            "https://***@h/ https://***@h/",
        ),
        (
            "a @ https://bob:p/w@h/a.whl",
            "gone: https://bob:p/w@h/a.whl",
            "gone: https://***@h/a.whl",
        ),
        (
            "a @ git+https://bob:p/w@h/a.git",
            "gone: https://bob:p/w@h/a.git",
            "gone: https://***@h/a.git",
        ),
        # The shell splits an index URL that has a blank.
        ("-i https://bob:p", "invalid value 'https://bob:p'", "invalid value 'https://***'"),
        (
            "wsecret@127.0.0.1:9/simple",
            "not wsecret@127.0.0.1:9/simple",
            "not ***@127.0.0.1:9/simple",
        ),
    ],
)  # fmt: skip
def test_a_password_that_does_not_belong_in_a_url_is_masked(
    value: str, text: str, masked: str
) -> None:
    assert mask_credentials(text, [value]) == masked
    assert has_credentials(value)


@pytest.mark.parametrize(
    "value",
    [
        "-i https://h.example/simple",
        "-i https://h.example:8080/simple",
        "-i https://h.example",
        "a @ git+https://h.example/a.git@main",
        "a @ git+https://h.example:8080/a.git@feature/x",
        "a @ file:///folder/a",
        "a>=1,<2",
        "a @ ./folder",
    ],
)
def test_an_address_without_a_password_is_shown(value: str) -> None:
    assert mask_credentials(f"no answer: {value}", [value]) == f"no answer: {value}"
    assert not has_credentials(value)


def test_a_known_password_is_masked_wherever_it_stands() -> None:
    sources = ["--index-url https://bob:hunter%2F2222@index.acme.example/simple"]

    shown = mask_credentials("refused bob:hunter/2222 and hunter%2F2222, bob is unknown", sources)

    assert shown == "refused *** and ***, bob is unknown"


def test_a_short_password_does_not_change_other_words() -> None:
    assert mask_credentials("a parcel, u:a", ["https://u:a@h"]) == "a parcel, ***"
