"""Expressions choose the runs that they mean, and say what is wrong with them and where."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfgcp.errors import UsageError
from kfgcp.model import ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.query import RunFilter
from kfgcp.store.search_expressions import parse, quote_name, quote_text
from kfgcp.store.store import Store

MakeRun = Callable[..., Run]
DAY = "2026-01-0{}T00:00:00.000Z"
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, make_run: MakeRun) -> Any:
    """Four runs, a to d, one a day."""
    with Store(tmp_path_factory.mktemp("home")) as store:
        for run in (
            make_run(
                "a",
                name="first try",
                created_at=DAY.format(1),
                started_at=DAY.format(1),
                ended_at="2026-01-01T00:01:30.000Z",
                params={
                    "lr": 0.1,
                    "model": "forest",
                    "layers": [64, 32],
                    "debug": True,
                    "n": 10,
                    "Lernrate ü": 1,
                },
                metrics=(
                    Metric("evaluate", "metrics", "accuracy", 0.9),
                    Metric("evaluate", "other", "accuracy", 0.2),
                    Metric("train-model", "metrics", "loss", math.nan),
                ),
                labels={
                    "team": "growth",
                    "git": "ab12cd",
                    "build": "007",
                    "release": "1.10",
                    "dirty": "True",
                },
                tags=("good", "reviewed", "2e3"),
                note="Größer als zuvor,\nand slower",
            ),
            make_run(
                "b",
                created_at=DAY.format(2),
                params={"lr": 0.05, "model": "linear", "debug": False, "n": 9, "text": "9"},
                metrics=(
                    Metric("evaluate", "metrics", "accuracy", 0.95),
                    Metric("for-loop-1[2]/eval", "m", "f1", 1),
                ),
                labels={"team": "ads"},
                version=DIGEST,
                tags=("bad",),
            ),
            make_run(
                "c",
                created_at=DAY.format(3),
                state=RunState.FAILED,
                params={"lr": None, "n": 2**62 + 1, "model": "x" * 100 + "y", "huge": 10**400},
                metrics=(Metric("train-model", "metrics", "loss", math.inf),),
                error=ErrorInfo("Out of memory", "train-model"),
                tasks=(Task("train-model", TaskKind.CONTAINER, TaskState.FAILED),),
            ),
            make_run(
                "d",
                created_at=DAY.format(4),
                experiment="spring",
                pipeline="other",
                params={"n": "10"},
            ),
        ):
            store.add_run(run)
        yield store


@pytest.mark.parametrize(
    ("where", "run_ids"),
    [
        ("params.lr < 0.1", "b"),
        ("params.lr <= 0.1", "ab"),
        ("params.lr = 1e-1", "a"),
        ("params.lr != 0.1", "bc"),
        ("params.lr = null", "cd"),
        ("params.lr != null", "ab"),
        ("not params.lr = 0.1", "bcd"),
        ("params.n > 9", "ac"),
        ("params.n < 10", "b"),
        ("params.n = 10", "a"),
        ("params.n = '10'", "d"),
        ("params.n > '0'", "d"),
        ("params.n = 4611686018427387905", "c"),
        ("params.n = 4611686018427387904", ""),
        ("params.n in (9, 10, '10')", "abd"),
        ("params.n not in (9, 10)", "cd"),
        ("params.n in [9]", "b"),
        ("params.lr in (null, 0.1)", "acd"),
        ("params.model in (forest, '" + "x" * 100 + "y')", "ac"),
        ("params.n in (10.0, 4611686018427387905)", "ac"),
        ("metrics.train-model.loss in (nan, inf)", "ac"),
        ("params.huge in (1" + "0" * 400 + ")", "c"),
        ("metrics.accuracy in (0.2, 0.95)", "ab"),
        ("params.debug in (false, '" + "x" * 100 + "')", "b"),
        ("params.huge > 1e300", "c"),
        ("params.huge = 1" + "0" * 400, "c"),
        ("params.debug = true", "a"),
        ("params.debug != true", "b"),
        ("params.debug = 1", ""),
        ("params.model = forest", "a"),
        ('params.model == "forest"', "a"),
        ("params.model = 'for'", ""),
        ("params.model ~ ORES", "a"),
        ("params.model !~ ores", "bc"),
        ("params.model >= 'g' and params.model < 'm'", "b"),
        ("params.model = '" + "x" * 100 + "y'", "c"),
        ("params.model = '" + "x" * 100 + "'", ""),
        ("params.model != '" + "x" * 100 + "y'", "ab"),
        ("params.layers ~ 64", "a"),
        ("params.'Lernrate ü' = 1", "a"),
        ('params."Lernrate ü" = 1', "a"),
        ("metrics.evaluate.accuracy > 0.9", "b"),
        ("metrics.evaluate.accuracy < 0.5", "a"),
        ("metrics.evaluate.metrics.accuracy < 0.5", ""),
        ("metrics.accuracy >= 0.9", "ab"),
        ("metrics.train.accuracy > 0", ""),
        ("metrics.train-model.loss > 0", "c"),
        ("metrics.train-model.loss = inf", "c"),
        ("metrics.train-model.loss = nan", "a"),
        ("metrics.train-model.loss != nan", "c"),
        ("metrics.for-loop-1[2]/eval.f1 = 1", "b"),
        ("params.lr < 0.1 and metrics.evaluate.accuracy > 0.9", "b"),
        ("params.n = 9 or params.n = 10 and params.debug = false", "b"),
        ("(params.n = 9 or params.n = 10) and params.debug = true", "a"),
        ("not (state = SUCCEEDED and params.debug = false)", "acd"),
        ("NOT state = failed AND experiment = default", "ab"),
        ("state in (FAILED, RUNNING)", "c"),
        ("state != failed", "abd"),
        ("pipeline = other or experiment = spring", "d"),
        ("env = local and backend = local", "abcd"),
        ("version = abab", "b"),
        ("version = 'sha256:abab'", "b"),
        ("version != abab", "acd"),
        ("labels.team = growth", "a"),
        ("labels.team != growth", "b"),
        ("labels.team = null", "cd"),
        ("labels.team ~ ROW", "a"),
        ("labels.git = ab12", "a"),
        ("labels.git != ff", "a"),
        ("labels.build = 007", "a"),
        ("labels.build = 7", ""),
        ("labels.release in (1.1, 1.10)", "a"),
        ("labels.dirty = True and labels.dirty != true", "a"),
        ("labels.build = 7d", ""),
        ("name != 1e400", "abcd"),
        ("tags = 2e3", "a"),
        ("tags = 2000", ""),
        ("tags = good", "a"),
        ("tags != good", "bcd"),
        ("'good' in tags", "a"),
        ("'good' not in tags", "bcd"),
        ("tags in (good, bad)", "ab"),
        ("tags = null", "cd"),
        ("tag ~ VIEW", "a"),
        ("note ~ 'GRÖSSER'", "a"),
        ("notes ~ slower", "a"),
        ("note = null", "bcd"),
        ("name ~ 'TRY'", "a"),
        ("run_id = a", "a"),
        ("error ~ memory", "c"),
        ("error = null", "abd"),
        ("created_at >= '2026-01-03'", "cd"),
        ("created < '2026-01-02T01:00:00+02:00'", "a"),
        ("created_at > -1h", ""),
        ("created_at < -1h", "abcd"),
        ("created_at ~ '01-02'", "b"),
        ("ended_at != null", "a"),
        ("not ended_at > '2026-01-01'", "bcd"),
        ("duration > 1m", "a"),
        ("duration = 90", "a"),
        ("duration < 90s", ""),
        ("not duration < 90", "abcd"),
    ],
)
def test_an_expression_finds_the_runs_that_it_means(runs: Store, where: str, run_ids: str) -> None:
    run_filter = RunFilter(where=where)

    assert "".join(sorted(run.run_id for run in runs.page(run_filter))) == run_ids
    assert runs.count(run_filter) == len(run_ids)
    assert (
        "".join(sorted(run.run_id for run in runs.page(run_filter, limit=max(len(run_ids), 1))))
        == run_ids
    )


@pytest.mark.parametrize(
    ("where", "position", "problem", "hint"),
    [
        ("", 0, "it is empty", "params.lr < 0.1"),
        ("params.lr <", 11, "a value is expected", "'a text'"),
        ("params.lr", 9, "an operator is expected after params.lr", "params.lr = true"),
        ("params.lr like 'x'", 10, "an operator is expected", "`~`"),
        ("params.lr < 0.1 params.n = 1", 16, "'params.n' is not expected here", "quotes"),
        ("name = first try", 13, "'try' is not expected here", "quotes"),
        ("parms.lr < 1", 0, "there is no column parms.lr", "Did you mean params?"),
        ("statee = FAILED", 0, "there is no column statee", "Did you mean state?"),
        ("params < 1", 0, "params needs a name", "params.NAME"),
        ("params.a.b < 1", 0, "params has too many parts", 'params."a.b"'),
        ("metrics.a.b.c.d < 1", 0, "metrics has too many parts", "metrics.TASK.NAME"),
        ("params.lr < params.n", 12, "params.n is not a value", "Two columns"),
        ("0.1 < params.lr", 0, "a name is expected", "Write the name first"),
        ("(params.lr < 1", 14, "a closing parenthesis is missing", "Write a ) for each"),
        ("params.lr < 1)", 13, "')' is not expected here", "`and` or `or`"),
        ("params.lr < 1 && params.n = 1", 14, "'&&' is not an operator", "Write `and`"),
        ("name = 'open", 7, "the closing quote of a text is missing", "Close the text with '"),
        ("params.n in 1", 12, "a list is expected", "in (1, 2, 3)"),
        ("params.n in (1", 14, "the end of the list is missing", ")"),
        ("params.lr < nan", 12, "< cannot be used with nan", "= nan"),
        ("params.lr < true", 12, "< needs a number or a text", "= or !="),
        ("state = BROKEN", 8, "there is no state BROKEN", "SUCCEEDED"),
        ("state < FAILED", 8, "a state cannot be compared with this operator", "="),
        ("tags > good", 7, "tags cannot be compared with this operator", "tags = 'good'"),
        ("created_at > 7d", 13, "a time is expected, not a duration", "-7d"),
        ("created_at > yesterday", 13, "yesterday is not a time", "2026-01-31"),
        ("duration > long", 11, "a duration is a number of seconds", "5m"),
        ("duration != nan", 12, "a duration is a number of seconds", "5m"),
        ("and", 0, "a name is expected", "Names:"),
        ("(" * 60 + "params.lr < 1" + ")" * 60, 50, "it is nested too deeply", "50 levels"),
        ("params.lr < 1; DROP TABLE runs", 13, "';' is not an operator", "one expression"),
    ],
)
def test_what_cannot_be_read_is_pointed_at(
    runs: Store, where: str, position: int, problem: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        runs.page(RunFilter(where=where or " "), limit=1) if where else parse(where)

    assert problem in caught.value.message
    assert f"(character {position + 1})" in caught.value.message
    shown, caret, *hint_lines = caught.value.hint.split("\n")
    assert (shown, caret.index("^")) == (where, position)
    assert hint in " ".join(hint_lines)


def test_of_a_long_expression_only_the_place_is_shown() -> None:
    for where, problem in (
        (" or ".join(["params.lr < 1"] * 201), "it is too long (character 3401)"),
        (" " * 500 + "x" * 100_000 + " = 1", "(character 501)"),
        ("name = 'open" + "\\'" * 50_000, "the closing quote of a text is missing (character 8)"),
    ):
        with pytest.raises(UsageError) as caught:
            parse(where)

        assert problem in caught.value.message
        shown, caret, *_ = caught.value.hint.split("\n")
        position = int(caught.value.message.rpartition(" ")[2].strip(").")) - 1
        assert shown[caret.index("^")] == where[position]
        assert len(caught.value.message) + len(caught.value.hint) < 1000


@given(st.text(min_size=1, max_size=30))
def test_any_text_is_a_value_and_a_name_in_its_quotes(text: str) -> None:
    comparison = parse(f"params.{quote_name(text)} = {quote_text(text)}")

    assert (comparison.column.parts, comparison.value) == ((text,), text)  # type: ignore[union-attr]


@given(st.text(max_size=60))
def test_whatever_is_typed_is_an_expression_or_a_usage_error(runs: Store, text: str) -> None:
    try:
        count = runs.count(RunFilter(where=text))
    except UsageError as error:
        assert "\n" not in error.message  # noqa: PT017
    else:
        assert 0 <= count <= 4


@pytest.mark.parametrize("text", ["'); DROP TABLE runs; --", '" OR 1=1 --', "%", "_"])
def test_texts_are_never_sql(runs: Store, text: str) -> None:
    for where in (
        f"params.model = {quote_text(text)}",
        f"name ~ {quote_text(text)}",
        f"labels.{quote_name(text)} = 'x'",
    ):
        assert runs.count(RunFilter(where=where)) == 0
    assert runs.count() == 4


@pytest.mark.parametrize(
    ("order", "run_ids"),
    [
        ("created_at", "abcd"),
        ("created_at desc", "dcba"),
        ("params.lr", "badc"),
        ("params.lr desc", "abdc"),
        ("metrics.evaluate.metrics.accuracy desc", "badc"),
        ("metrics.train-model.loss desc", "cdba"),
        ("labels.team", "badc"),
        ("duration desc", "adcb"),
        ("name desc", "adcb"),
        ("note", "adcb"),
    ],
)
def test_runs_are_ordered_by_any_column_those_without_it_last(
    runs: Store, order: str, run_ids: str
) -> None:
    assert "".join(run.run_id for run in runs.page(order=order)) == run_ids


@pytest.mark.parametrize("order", ["nothing", "params.lr up", "tags", "params.lr desc, name", ""])
def test_an_order_that_cannot_be_read_is_a_usage_error(runs: Store, order: str) -> None:
    with pytest.raises(UsageError, match="The expression cannot be used"):
        runs.page(order=order)


def test_a_page_of_what_most_runs_match_is_the_same_as_of_all(
    tmp_path: Path, make_run: MakeRun
) -> None:
    """A page is looked for among the newest runs first, and among all when they do not have it."""
    with Store(tmp_path) as store:
        for number in range(2100):
            at = (
                f"2026-01-01T{number // 60:02d}:{number % 60:02d}:00.000Z"
                if number < 1440
                else DAY.format(5)
            )
            store.add_run(make_run(f"r{number:04d}", created_at=at, params={"n": number}))
        run_filter = RunFilter(where="params.n < 1500 or params.n = 2000")

        all_run_ids = [run.run_id for run in store.page(run_filter)]

        assert len(all_run_ids) == 1501
        assert [run.run_id for run in store.page(run_filter, limit=20)] == all_run_ids[:20]
        assert [run.run_id for run in store.page(run_filter, limit=20, offset=1395)] == all_run_ids[
            1395:1415
        ]
        assert [run.run_id for run in store.page(run_filter, limit=20, offset=1490)] == all_run_ids[
            1490:
        ]
