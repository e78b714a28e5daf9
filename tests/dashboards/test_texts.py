"""Texts, numbers, durations and times as they are shown; addresses that may be followed."""

import math
from datetime import UTC, datetime

import pytest

from kfgcp_dashboard import links, text

NOW = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "relative_time"),
    [
        ("2026-01-09T23:59:58.000Z", "just now"),
        ("2026-01-10T00:00:30.000Z", "just now"),
        ("2026-01-09T23:59:30.000Z", "30 s ago"),
        ("2026-01-09T23:30:00.000Z", "30 min ago"),
        ("2026-01-09T21:00:00.000Z", "3 h ago"),
        ("2026-01-09T00:00:00.000Z", "1 day ago"),
        ("2026-01-07T00:00:00.000Z", "3 days ago"),
        ("2025-11-01T00:00:00.000Z", "2 months ago"),
        ("2024-01-01T00:00:00.000Z", "2 years ago"),
        (None, ""),
    ],
)
def test_times_are_relative(at: str | None, relative_time: str) -> None:
    assert text.format_age(at, NOW) == relative_time


def test_the_exact_time_is_to_the_second_in_utc() -> None:
    assert text.format_time("2026-01-02T03:04:05.678Z") == "2026-01-02 03:04:05 UTC"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1234567891, "0.123457"),
        (1e-9, "1e-09"),
        (1234567, "1,234,567"),
        (math.nan, "NaN"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),  # noqa: RUF001
        (True, "true"),
        (None, "null"),
        ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
    ],
)
def test_values_are_short_and_do_nothing(value: object, shown: str) -> None:
    assert text.format_value(value) == shown


def test_markdown_escapes_every_mark_of_ascii() -> None:
    marks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

    escaped = text.escape_markdown(marks).replace("\u2060", "")

    assert escaped == "".join(f"\\{mark}" for mark in marks)
    assert text.escape_markdown("a:smile:b") == "a\\:\u2060smile\\:\u2060b"
    assert text.escape_markdown("see www.evil.example") == "see www\u2060\\.evil\\.example"


def test_html_is_escaped_in_texts_and_attributes() -> None:
    assert (
        text.html_element("span", "<b>&", title='"><script>')
        == '<span title="&quot;&gt;&lt;script&gt;">&lt;b&gt;&amp;</span>'
    )


def test_a_log_line_is_as_a_terminal_would_leave_it() -> None:
    assert text.strip_colors("\x1b[1;31mred\x1b[0m plain") == "red plain"
    assert text.strip_colors("10%\r50%\r100%\r") == "100%"


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("https://console.example/run?id=1", "https://console.example/run?id=1"),
        ("http://localhost:8080/x", "http://localhost:8080/x"),
        ("gs://bucket/a b", None),
        ("gs://bucket/runs/x", "https://console.cloud.google.com/storage/browser/bucket/runs/x"),
        ("s3://bucket/runs/x", "https://s3.console.aws.amazon.com/s3/buckets/bucket?prefix=runs/x"),
        ("javascript:alert(1)", None),
        ("JavaScript://x/%0aalert(1)", None),
        ("data:text/html,<script>", None),
        ("file:///etc/passwd", None),
        ("/etc/passwd", None),
        ("//evil.example", None),
        ("https:", None),
        ("https://[half", None),
        (" https://a.example", None),
        ("java\nscript:alert(1)", None),
        (None, None),
        (7, None),
    ],
)
def test_only_addresses_of_four_kinds_become_links(address: object, link: str | None) -> None:
    assert links.external_link(address) == link


@pytest.mark.parametrize(
    ("endpoint", "has_page"),
    [
        (None, True),
        ("https://s3.eu-central-1.amazonaws.com", True),
        ("https://bucket.vpce-1a2b.s3.eu-central-1.vpce.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", False),
        ("https://minio.acme.example:9000", False),
        ("http://localhost:9000", False),
        ("https://amazonaws.com.acme.example", False),
    ],
)
def test_an_object_on_a_server_of_ones_own_has_no_page_at_amazon(
    endpoint: str | None, has_page: bool
) -> None:
    link = links.external_link("s3://bucket/runs/x", endpoint)

    assert (link is not None) is has_page
    assert (
        links.external_link("gs://bucket/x", endpoint)
        == "https://console.cloud.google.com/storage/browser/bucket/x"
    )
