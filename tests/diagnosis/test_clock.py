"""The clock of this machine against the Date header of an answer (RFC 9110, 6.6.1)."""

import pytest

from kfgcp.diagnosis.checks import Aside
from kfgcp.diagnosis.clock_skew import clock_skew
from kfgcp.errors import BackendError

NOON = 1767873600.0  # Thu, 08 Jan 2026 12:00:00 GMT
HEADERS = {"date": "Thu, 08 Jan 2026 12:00:00 GMT"}


@pytest.mark.parametrize("seconds", [-30, 0, 1.5, 30])
def test_a_small_difference_is_right(seconds: float) -> None:
    assert clock_skew(HEADERS, lambda: NOON + seconds) == "right"


@pytest.mark.parametrize(("seconds", "text"), [(-31, "31 s behind"), (300, "300 s ahead of")])
def test_a_larger_difference_is_named(seconds: float, text: str) -> None:
    result = clock_skew(HEADERS, lambda: NOON + seconds)

    assert isinstance(result, Aside)
    assert result.detail == f"The clock of this machine is {text} the clock of the server."


@pytest.mark.parametrize(("seconds", "text"), [(-301, "301 s behind"), (3600, "3600 s ahead of")])
def test_a_clock_that_is_too_wrong_for_sign_ins(seconds: float, text: str) -> None:
    with pytest.raises(BackendError) as caught:
        clock_skew(HEADERS, lambda: NOON + seconds)

    assert (
        caught.value.message
        == f"The clock of this machine is {text} the clock of the server, so sign-ins fail."
    )
    assert caught.value.hint.startswith("Set the clock: sudo ")


@pytest.mark.parametrize("headers", [{}, {"date": "today"}])
def test_an_answer_without_a_time(headers: dict[str, str]) -> None:
    assert clock_skew(headers) == Aside("the server does not send the time")
