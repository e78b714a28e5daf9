"""Which requests show that a foreign web page may be behind them: hosts, origins, fetch
metadata."""

import pytest

from kfgcp.cross_site import Authority, CrossSiteGuard, parse_authority

PORT = 8501
OWN = ("Host", "127.0.0.1:8501")
NAMES = (
    "dash.acme.example",
    "localhost:9000",
    "[2001:db8::1]",
    "192.0.2.2:8501",
    "tls.acme.example:443",
)
GUARD = CrossSiteGuard(PORT, NAMES)


def _is_refused(*headers: tuple[str, str], method: str = "GET", target: str = "/") -> bool:
    return GUARD.refusal(method, headers, target) is not None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8501",
        "localhost:8501",
        "LOCALHOST:8501",
        "localhost.:8501",
        "127.8.9.10:8501",
        "[::1]:8501",
        "[0:0:0:0:0:0:0:1]:8501",
        " localhost:8501 ",
        "localhost:9000",
        "dash.acme.example",
        "Dash.Acme.Example.:443",
        "[2001:DB8:0::1]:8501",
        "192.0.2.2:8501",
        "tls.acme.example:443",
        "tls.acme.example",
    ],
)
def test_own_hosts_are_served(host: str) -> None:
    assert not _is_refused(("Host", host))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8501",
        "localhost",
        "127.0.0.1",
        "[::1]",
        "localhost:8502",
        "127.0.0.1:80",
        "localhost.evil.example:8501",
        "dash.acme.example.evil.example",
        "evil-dash.acme.example",
        "localhost..:8501",
        "localhost:8501@evil.example",
        "user@localhost:8501",
        "localhost:8501, evil.example",
        "localhost:8501 evil.example",
        "localhost:99999",
        "localhost:",
        "localhost:8501/x",
        "::1:8501",
        "[::1:8501",
        "0.0.0.0:8501",
        "169.254.169.254:8501",
        "2130706433:8501",
        "[::ffff:192.0.2.1]:8501",
        "192.0.2.2",
        "192.0.2.2:3000",
        "tls.acme.example:8443",
        "\uff4cocalhost:8501",
    ],
)
def test_other_hosts_are_refused(host: str) -> None:
    assert _is_refused(("Host", host))


def test_without_a_port_the_host_means_port_80() -> None:
    assert CrossSiteGuard(80).refusal("GET", [("Host", "localhost")]) is None
    assert CrossSiteGuard(80).refusal("GET", [("Host", "localhost:8501")]) is not None


def test_a_request_has_one_host() -> None:
    assert _is_refused()
    assert _is_refused(OWN, OWN)
    assert _is_refused(OWN, ("host", "evil.example"))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8501", "http://127.0.0.1:8501"),
        ("localhost:8501", "http://LOCALHOST:8501"),
        ("[::1]:8501", "http://[::1]:8501"),
        ("dash.acme.example", "https://dash.acme.example"),
        ("dash.acme.example", "https://dash.acme.example:443"),
        ("dash.acme.example:443", "https://dash.acme.example"),
        ("127.0.0.1:8501", "https://dash.acme.example"),
        ("127.0.0.1:8501", "https://dash.acme.example:443"),
        ("127.0.0.1:8501", "http://dash.acme.example:80"),
        ("127.0.0.1:8501", "https://[2001:db8::1]"),
        ("127.0.0.1:8501", "http://192.0.2.2:8501"),
        ("127.0.0.1:8501", "https://tls.acme.example"),
        ("dash.acme.example:8080", "http://dash.acme.example:8080"),
        ("localhost:9000", "http://localhost:9000"),
    ],
)
def test_pages_of_the_server_itself_may_use_it(host: str, origin: str) -> None:
    assert not _is_refused(("Host", host), ("Origin", origin), ("Sec-Fetch-Site", "same-origin"))


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://127.0.0.1:3000",
        "http://127.0.0.1",
        "http://localhost:8501",  # may be another program that listens on ::1
        "http://localhost:9000",
        "http://127.0.0.1:8501@evil.example",
        "http://127.0.0.1:8501.evil.example",
        "file://",
        "chrome-extension://abc",
        "127.0.0.1:8501",
        "https://dash.acme.example.evil.example",
    ],
)
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    assert _is_refused(OWN, ("Origin", origin))


@pytest.mark.parametrize("host", ["127.0.0.1:8501", "dash.acme.example", "192.0.2.2:8501"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://dash.acme.example:3000",
        "https://dash.acme.example:8501",
        "https://dash.acme.example:80",
        "http://dash.acme.example:443",
        "http://[2001:db8::1]:3000",
        "http://192.0.2.2",
        "https://192.0.2.2",
        "http://192.0.2.2:3000",
        "http://tls.acme.example",
        "https://tls.acme.example:8443",
    ],
)
def test_another_port_of_a_configured_host_is_another_origin(host: str, origin: str) -> None:
    assert _is_refused(("Host", host), ("Origin", origin))


@pytest.mark.parametrize(
    ("site", "refused"),
    [
        ("same-origin", False),
        ("none", False),
        ("same-site", True),
        ("cross-site", True),
        ("", True),
    ],
)
def test_fetch_metadata_names_the_site(site: str, refused: bool) -> None:
    assert _is_refused(OWN, ("Sec-Fetch-Site", site)) is refused


def test_the_strictest_of_repeated_headers_counts() -> None:
    assert _is_refused(OWN, ("Sec-Fetch-Site", "none"), ("sec-fetch-site", "cross-site"))
    assert _is_refused(OWN, ("Origin", "http://127.0.0.1:8501"), ("origin", "http://evil.example"))


def test_an_address_in_the_request_line_has_to_be_the_host() -> None:
    assert not _is_refused(OWN, target="http://127.0.0.1:8501/runs")
    assert not _is_refused(OWN, target="/a://b?c=http://evil.example")
    assert not _is_refused(OWN, method="OPTIONS", target="*")
    assert _is_refused(OWN, target="http://evil.example/runs")
    assert _is_refused(OWN, method="CONNECT", target="evil.example:443")


LINK = (
    ("Sec-Fetch-Site", "cross-site"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
)


def test_links_open_pages_only_where_that_is_allowed() -> None:
    dashboard = CrossSiteGuard(PORT, allow_links=True)

    assert _is_refused(OWN, *LINK)
    assert dashboard.refusal("GET", [OWN, *LINK]) is None
    assert dashboard.refusal("GET", [("Host", "evil.example"), *LINK]) is not None
    assert dashboard.refusal("POST", [OWN, *LINK]) is not None
    assert dashboard.refusal("GET", [OWN, *LINK[:2], ("Sec-Fetch-Dest", "iframe")]) is not None
    assert (
        dashboard.refusal("GET", [OWN, LINK[0], ("Sec-Fetch-Mode", "websocket"), LINK[2]])
        is not None
    )
    assert dashboard.refusal("GET", [OWN, *LINK, ("Origin", "http://evil.example")]) is not None


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("Dash.Acme.Example.", Authority("dash.acme.example", None)),
        ("localhost:9000", Authority("localhost", 9000)),
        ("[::1]:80", Authority("::1", 80)),
        ("http://dash.acme.example", None),
        ("dash.acme.example/", None),
        ("*.acme.example", None),
        ("", None),
    ],
)
def test_host_names_are_parsed(text: str, authority: Authority | None) -> None:
    assert parse_authority(text) == authority
