"""The tree of errors is the one drawn in the docstring."""

import inspect
import re

import pytest

from kfgcp import errors
from kfgcp.errors import BackendError, KfgcpError, MissingExtra, NotFound, Refused, SpecError
from kfgcp.installation import install_hint

CLASSES = [
    error_class
    for _, error_class in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error_class, KfgcpError)
]


def _drawn() -> dict[str, tuple[str, int]]:
    """Class -> its parent and exit code, from the drawing."""
    drawn: dict[str, tuple[str, int]] = {}
    above: dict[int, str] = {}
    for line in inspect.cleandoc(errors.__doc__ or "").splitlines():
        match = re.match(r"^([ │├└─]*)([A-Z]\w+)\s+(\d+)\s+\S", line)
        if match:
            depth = (len(match[1]) - 4) // 4
            above[depth] = match[2]
            drawn[match[2]] = (above.get(depth - 1, "Exception"), int(match[3]))
    return drawn


def test_the_tree_is_the_one_drawn() -> None:
    assert {
        error_class.__name__: (error_class.__bases__[0].__name__, error_class.exit_code)
        for error_class in CLASSES
    } == _drawn()


def test_exit_codes_are_those_of_the_contract() -> None:
    assert {error_class.__name__: error_class.exit_code for error_class in CLASSES} == {
        "KfgcpError": 1,
        "UsageError": 2,
        "ConfigError": 2,
        "ParamError": 2,
        "RunNotFound": 2,
        "SpecError": 3,
        "CheckFailed": 4,
        "BackendError": 5,
        "Unsupported": 5,
        "MachineError": 5,
        "StateError": 5,
        "DiskFull": 5,
        "AuthError": 5,
        "IapRefused": 5,
        "BadAnswer": 5,
        "Unreachable": 5,
        "Refused": 5,
        "NotFound": 5,
        "RunFailed": 6,
        "RunTimeout": 7,
        "MissingExtra": 8,
    }


@pytest.mark.parametrize(
    "kind", [error_class for error_class in CLASSES if error_class is not MissingExtra]
)
def test_an_error_is_a_message_and_a_hint(kind: type[KfgcpError]) -> None:
    error = kind("It broke.", hint="Mend it.")

    assert (str(error), error.message, error.hint) == ("It broke.", "It broke.", "Mend it.")
    assert kind("It broke.").hint == ""


def test_a_missing_extra_says_how_to_install_it() -> None:
    error = MissingExtra("Parquet", "frames")

    assert error.message == "Parquet needs the extra 'frames', which is not installed."
    assert (error.hint, error.extra) == (install_hint("frames"), "frames")


def test_a_spec_error_may_carry_the_frames_of_the_users_code() -> None:
    assert SpecError("no", user_traceback="File x").user_traceback == "File x"
    assert SpecError("no").user_traceback == ""


@pytest.mark.parametrize("kind", [Refused, NotFound])
def test_a_refusal_says_how_the_service_answered(kind: type[Refused]) -> None:
    error = kind("No.", hint="Ask.", status=409, reason="ALREADY_EXISTS", retried=True)

    assert (error.status, error.reason, error.retried) == (409, "ALREADY_EXISTS", True)
    assert (kind("No.").status, kind("No.").reason, kind("No.").retried) == (0, "", False)


def test_an_amended_error_is_a_copy_of_the_same_kind() -> None:
    error = NotFound(
        "No.", hint="Look.", status=404, reason="NOT_FOUND", fields=["name"], retried=True
    )

    amended = error.amended(message="No run.", unknown=True)

    assert type(amended) is NotFound
    assert (str(amended), amended.message, amended.hint, amended.unknown) == (
        "No run.",
        "No run.",
        "Look.",
        True,
    )
    assert (amended.status, amended.reason, amended.fields, amended.retried) == (
        404,
        "NOT_FOUND",
        ("name",),
        True,
    )
    assert (str(error), error.message, error.unknown) == ("No.", "No.", False)
    assert error.amended(hint="Wait.").hint == "Wait."


def test_a_note_on_an_amended_error_is_not_on_the_first_one() -> None:
    error = BackendError("x")
    error.add_note("first")

    changed = error.amended(hint="y")
    changed.add_note("second")

    assert (error.__notes__, changed.__notes__) == (["first"], ["first", "second"])
