"""Comments that suppress rules in Python files, and the lines that they are about."""

import ast

import pytest

from kfgcp.spec.source_comments import Comment, read_python_comments


def comments_of(program: str) -> list[Comment]:
    return read_python_comments(program, ast.parse(program), "main.py")


def lines_of(program: str) -> list[int]:
    """Return the lines of the only comment of a program."""
    (comment,) = comments_of(program)
    return list(comment.lines)


def test_a_comment_has_rules_and_a_reason() -> None:
    (comment,) = comments_of("train()  # kfgcp: V203, K101 because the secret is public, really\n")

    assert comment.rules == ("V203", "K101")
    assert comment.reason == "the secret is public, really"
    assert str(comment.location) == "main.py:1"


@pytest.mark.parametrize(
    "text",
    [
        "# kfgcp: V203",
        "# kfgcp: V203 the secret is public",
        "# kfgcp: V203 because",
        "# kfgcp: V203 because  ",
        "# kfgcp: V203because of it",
    ],
)
def test_a_comment_without_because_has_no_reason(text: str) -> None:
    reasons = [comment.reason for comment in comments_of(f"train()  {text}\n")]

    assert reasons in ([""], [])


@pytest.mark.parametrize(
    "text",
    [
        "# kfgcp",
        "# kfgcp: see V203",
        "# kfgcp: VV203 because a",
        "# kfgcp: V203b because a",
        "# V203",
    ],
)
def test_other_comments_are_not_read(text: str) -> None:
    assert comments_of(f"train()  {text}\n") == []


def test_almost_an_id_is_read_so_that_the_check_can_refuse_it() -> None:
    (comment,) = comments_of("train()  # kfgcp: v203, V20 because x\n")

    assert (comment.rules, comment.reason) == (("v203", "V20"), "x")


def test_a_comment_on_the_line_of_a_call() -> None:
    assert lines_of("a()\ntrain()  # kfgcp: V203 because x\nb()\n") == [2]


def test_a_comment_above_a_call() -> None:
    assert lines_of("a()\n# kfgcp: V203 because x\n\n# More.\ntrain()\nb()\n") == [5]


MULTI_LINE = "a()\n{above}(\n    train(){first}\n    .set_retry(3){inner}\n){last}\nb()\n"


@pytest.mark.parametrize(
    ("place", "lines"),
    [
        ("above", [3, 4, 5, 6]),
        ("first", [3]),
        ("inner", [4]),
        ("last", [2, 3, 4, 5]),
    ],
)
def test_a_comment_at_a_call_over_several_lines(place: str, lines: list[int]) -> None:
    comment = "# kfgcp: V203 because x"
    places = dict.fromkeys(("above", "first", "inner", "last"), "")
    places[place] = f"{comment}\n" if place == "above" else f"  {comment}"

    assert lines_of(MULTI_LINE.format(**places)) == lines


def test_a_comment_on_the_first_line_of_a_call_over_several_lines() -> None:
    assert lines_of("train(  # kfgcp: V203 because x\n    rows=1,\n).set_retry(3)\n") == [1, 2, 3]


FUNCTION = (
    "{above}@first{first}\n@dsl.component(\n    base_image='a',{inner}\n)\n"
    "def f():{last}\n    a()\n"
)


@pytest.mark.parametrize(
    ("place", "lines"),
    [
        ("above", [2, 3, 4, 5, 6]),
        ("first", [1, 2, 3, 4, 5]),
        ("inner", [1, 2, 3, 4, 5]),
        ("last", [1, 2, 3, 4, 5]),
    ],
)
def test_a_comment_at_a_function_is_about_its_decorators(place: str, lines: list[int]) -> None:
    comment = "# kfgcp: V203 because x"
    places = dict.fromkeys(("above", "first", "inner", "last"), "")
    places[place] = f"{comment}\n" if place == "above" else f"  {comment}"

    assert lines_of(FUNCTION.format(**places)) == lines


def test_a_comment_above_a_with_is_not_about_its_body() -> None:
    assert lines_of("# kfgcp: V203 because x\nwith a():\n    train()\n") == [2]


def test_a_comment_at_the_end_of_a_file_is_about_itself() -> None:
    assert lines_of("train()\n# kfgcp: V203 because x\n") == [2]


def test_texts_are_not_comments() -> None:
    program = 'a = "# kfgcp: V203 because x"\nb = """\n# kfgcp: V203 because x\n"""\n'

    assert comments_of(program) == []


def test_windows_line_ends() -> None:
    (comment,) = comments_of("a()\r\ntrain()  # kfgcp: V203 because x\r\n")

    assert (comment.reason, list(comment.lines)) == ("x", [2])
