"""How long names and parameters may be, by the version of the server."""

from collections.abc import Callable

import pytest

from exchanges import exchange
from kfgcp.backends.kubeflow.limits import check_experiment_name, check_parameters
from kfgcp.backends.kubeflow.server_version import Server
from kfgcp.errors import Unsupported, UsageError
from kfgcp.services.client import ServiceClient


@pytest.fixture
def server_of(server: Server, client: Callable[..., ServiceClient]) -> Callable[[str], Server]:
    """Makes a server that answers the question for its version as the one that was recorded, "" for
    never."""

    def make(version: str) -> Server:
        if version:
            server.answers(exchange("healthz", version).answer)
        return Server(client())

    return make


@pytest.mark.parametrize("name", ["e" * 128, "\N{LATIN SMALL LETTER E WITH ACUTE}" * 64])
def test_an_experiment_of_128_bytes_is_allowed_without_a_question(
    server_of: Callable[[str], Server], name: str
) -> None:
    check_experiment_name(name, server_of(""))


@pytest.mark.recorded("Kubeflow: limits of names", "api-2.17.0/experiment-create-long-name")
@pytest.mark.parametrize("version", ["2.17.0"])
def test_an_experiment_of_129_bytes_is_refused(
    server_of: Callable[[str], Server], version: str
) -> None:
    """As recorded."""
    name = exchange("experiment-create-long-name", version).body["display_name"]

    with pytest.raises(Unsupported) as caught:
        check_experiment_name(name, server_of(version))

    assert (
        caught.value.message
        == "The name of the experiment has 129 bytes; Kubeflow Pipelines takes at most 128."
    )


def test_bytes_are_counted_not_characters(server_of: Callable[[str], Server]) -> None:
    with pytest.raises(Unsupported, match="130 bytes"):
        check_experiment_name("\N{LATIN SMALL LETTER E WITH ACUTE}" * 65, server_of("2.17.0"))


def test_an_older_server_takes_255_characters(server_of: Callable[[str], Server]) -> None:
    letter = "\N{LATIN SMALL LETTER E WITH ACUTE}"
    check_experiment_name(
        exchange("experiment-create-long-name", "2.14.3").body["display_name"], server_of("2.14.3")
    )
    check_experiment_name(letter * 255, server_of("2.14.3"))

    with pytest.raises(
        Unsupported, match=r"256 characters; Kubeflow Pipelines 2\.14\.3 takes at most 255"
    ):
        check_experiment_name(letter * 256, server_of("2.14.3"))


def test_an_experiment_needs_a_name(server_of: Callable[[str], Server]) -> None:
    with pytest.raises(Unsupported, match="needs a name"):
        check_experiment_name("", server_of(""))


@pytest.mark.parametrize(
    ("version", "limit", "letter"),
    [
        ("2.17.0", 120_000, "a"),
        (
            "2.17.0",
            120_000,
            "\N{CJK UNIFIED IDEOGRAPH-5B57}",
        ),  # three bytes in UTF-8, six in ASCII JSON
        ("2.14.3", 65_535, "a"),
    ],
)
def test_parameters_are_limited_in_bytes(
    server_of: Callable[[str], Server], version: str, limit: int, letter: str
) -> None:
    """`{"data":"…","lr":0.5}` has 20 bytes beside the text."""
    count, rest = divmod(limit - 20, len(letter.encode()))
    params = {"lr": 0.5, "data": letter * count + "x" * rest}
    server = server_of(version if limit > 65_535 else "")

    check_parameters(params, server)
    if limit == 65_535:
        server = server_of(version)
    with pytest.raises(UsageError) as caught:
        check_parameters(params | {"data": params["data"] + "x"}, server)

    release = " 2.14.3" if limit == 65_535 else ""
    assert caught.value.message == (
        f"The parameters take {limit + 1:,} bytes (data: {limit - 17:,}, lr: 3); "
        f"Kubeflow Pipelines{release} takes at most {limit:,}."
    )
    assert "bucket" in caught.value.hint


@pytest.mark.parametrize("letter", ["<", ">", "&", "\u2028", "\u2029"])
def test_what_go_escapes_takes_six_bytes(server_of: Callable[[str], Server], letter: str) -> None:
    """json.Marshal of Go writes \\u003c; in the parameters `{"page":"…"}` there are 11 bytes beside
    the text."""
    most = (120_000 - 11) // 6

    check_parameters({"page": letter * most}, server_of("2.17.0"))
    with pytest.raises(UsageError, match="Kubeflow Pipelines takes at most 120,000"):
        check_parameters({"page": letter * (most + 1)}, server_of("2.17.0"))


def test_the_longest_parameters_are_named(server_of: Callable[[str], Server]) -> None:
    params = {"a": "x" * 10, "b": "x" * 50_000, "c": "x" * 80_000, "d": 1, "e": [1, 2]}

    with pytest.raises(UsageError, match=r"\(c: 80,002, b: 50,002, a: 12, …\)"):
        check_parameters(params, server_of("2.17.0"))
