"""Every page on real stores: what it shows, that it never shows a traceback, and that its address
reproduces it."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from kfgcp import api
from kfgcp.model import Artifact, Cache, ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.spec.json_values import JsonObject
from kfgcp.store.store import Store
from patience import PROCESS, WaitFor

Page = Callable[..., AppTest]
VIEWS = ("runs", "compare", "run", "launch", "trends", "versions", "health")

SCRIPTS = [
    "日本語の実行",
    "العربية",
    "עברית",
    "हिन्दी",
    "ไทย",
    "Ελληνικά",
    "emoji 🎉👩‍👩‍👧",
    "zero\u200bwidth\u202eright to left",
    "a" * 500,
    "",
    " ",
    "tab\there\nand\x00control\x1b[31m",
    "\ud800 half a pair",
]
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    ":red[red] :smile: $x^2$ **bold** `code`",
    '"; DROP TABLE runs; --',
    "{{template}} ${expression} %s %(x)s",
    "../../etc/passwd",
    "</iframe><script>alert(2)</script>",
    ":material/home: :violet-badge[x] ~~s~~ ![i](https://evil.example/i.png)",
]


def _put(store: Store, *runs: Run) -> None:
    for run in runs:
        store.add_run(run)


def _odd(make_run: Callable[..., Run], number: int, name: str) -> Run:
    """A run all of whose texts are that one."""
    at = f"2026-01-02T03:04:{number % 60:02d}.000Z"
    error = ErrorInfo(name or "no message", task=name, log_tail=(name, name))
    tasks = (
        Task(
            name or "t",
            TaskKind.CONTAINER,
            TaskState.FAILED,
            2,
            Cache(False, name),
            at,
            at,
            {"x": name},
            {},
            error,
        ),
        Task(f"{name}[0]", TaskKind.LOOP, TaskState.RUNNING, 1, started_at=at),
    )
    return make_run(
        f"odd{number:09d}",
        name=name,
        tags=(name or "tag",),
        pipeline=name or "p",
        experiment=name or "e",
        state=RunState.FAILED,
        created_at=at,
        started_at=at,
        ended_at=at,
        params={name or "p": name, "lr": 0.1 * number},
        outputs={name or "o": [name]},
        labels={name or "l": name},
        metrics=(Metric(name or "t", name or "m", name or "n", float(number)),),
        artifacts=(Artifact(name or "t", name or "a", name, name, {name or "k": name}),),
        tasks=tasks,
        error=error,
        url=name,
    )


@pytest.mark.parametrize("view", VIEWS)
def test_a_project_without_runs_says_what_to_type(open_page: Page, view: str) -> None:
    page = open_page(view)

    assert not page.exception
    assert not page.error or view == "run"
    if view not in ("health", "compare", "launch"):
        assert "kfgcp" in " ".join(code.value for code in page.code)


def test_the_page_health_says_why_an_environment_cannot_be_used(
    open_page: Page, home: Path
) -> None:
    (home / "kfgcp.toml").write_text('[dashboard]\nsync = ["dev"]\n[env.dev]\nbackend = "vertx"\n')

    page = open_page("health")

    assert not page.exception
    assert [error.value.replace("\\", "") for error in page.error] == [
        "kfgcp.toml [env.dev] has the unknown backend 'vertx'."
    ]


def test_launching_without_a_valid_environment_says_why(
    open_page: Page, home: Path, pipeline: Callable[[str], Path]
) -> None:
    (home / "typed.yaml").write_bytes(pipeline("typed").read_bytes())
    (home / "kfgcp.toml").write_text('[env.local]\nbackend = "local"\nmax_parallel = 0\n')

    page = open_page("launch", pipeline="typed.yaml")

    assert not page.exception
    assert len(page.error) == 1
    assert page.error[0].value.endswith("must be at least 1\\.")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("texts", [SCRIPTS, HOSTILE], ids=["scripts", "hostile"])
def test_any_text_may_stand_in_runs(
    open_page: Page, store: Store, make_run: Callable[..., Run], view: str, texts: list[str]
) -> None:
    _put(store, *(_odd(make_run, number, name) for number, name in enumerate(texts)))
    ids = [run.run_id for run in store.page()]
    for number, run_id in enumerate(ids):
        store.note(run_id, texts[number])

    for query in [
        {},
        {"run": ids[:3]},
        {"run": ids[-1], "tab": "Tasks"},
        {"run": ids[-1], "tab": "Artifacts"},
    ]:
        page = open_page(view, **query)

        assert not page.exception
        assert not [error.value for error in page.error if "internal error" in error.value]
        _assert_nothing_is_markup(page, texts)


def _assert_nothing_is_markup(page: AppTest, texts: list[str]) -> None:
    """What reads Markdown or HTML never gets a text of a run as it is."""
    marked = [text for text in texts if any(mark in text for mark in "<[$:`*")]
    read_as_markup = [
        *(
            element.value
            for element in [*page.markdown, *page.caption, *page.error, *page.warning, *page.info]
        ),
        *(
            element.label
            for element in [*page.button, *page.expander, *page.metric, *page.selectbox]
        ),
    ]
    for text in marked:
        assert not [shown for shown in read_as_markup if text in shown]
        assert "<" not in text or not [html for html in page.get("html") if text in html.proto.body]


def test_runs_are_a_table_newest_first(
    open_page: Page, store: Store, make_run: Callable[..., Run]
) -> None:
    _put(
        store,
        make_run(
            "aaaa00000001", name="old", created_at="2026-01-01T00:00:00.000Z", state=RunState.FAILED
        ),
        make_run(
            "aaaa00000002",
            name="new",
            created_at="2026-01-02T00:00:00.000Z",
            started_at="2026-01-02T00:00:00.000Z",
            ended_at="2026-01-02T00:02:05.000Z",
            metrics=(Metric("evaluate", "m", "accuracy", 0.5),),
        ),
    )

    table = open_page("runs").dataframe[0].value

    assert list(table["name"]) == ["new", "old"]
    assert list(table["seconds"]) == ["2 min 05 s", ""]
    assert [list(value) for value in table["state"]] == [["SUCCEEDED"], ["FAILED"]]
    assert table["metrics.evaluate.accuracy"][0] == 0.5
    assert math.isnan(table["metrics.evaluate.accuracy"][1])


def _shown(page: AppTest) -> list[int]:
    return [int(name.removeprefix("name-")) for name in page.dataframe[0].value["name"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, list(range(119, 69, -1))),
        ({"page": "3"}, list(range(19, -1, -1))),
        ({"page": "99"}, list(range(19, -1, -1))),
        ({"page": "nonsense"}, list(range(119, 69, -1))),
        ({"state": "FAILED"}, list(range(110, -1, -10))),
        ({"state": ["FAILED"], "pipeline": "score", "env": "dev"}, [90, 60, 30, 0]),
        ({"experiment": "exp-1", "page": "1"}, list(range(117, 0, -4))),
        ({"where": "params.lr < 0.03"}, [2, 1, 0]),
        ({"where": "metrics.accuracy > 0.997 and state = FAILED"}, [0]),
        ({"where": "metrics.evaluate.accuracy >= 0.999"}, [1, 0]),
        ({"where": "lucky"}, [7]),
        ({"where": "keep"}, [9]),
        ({"where": "'keep' in tags"}, [9]),
        ({"where": "note ~ lucky"}, [7]),
        (
            {"where": "name-11", "sort": "name", "up": "1"},
            [11, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119],
        ),
        ({"state": "FAILED", "sort": "params.lr", "up": "1"}, list(range(0, 120, 10))),
        ({"state": "FAILED", "sort": "metrics.evaluate.accuracy"}, list(range(0, 120, 10))),
        ({"pipeline": "no such pipeline"}, list(range(119, 69, -1))),
        ({"state": "NO SUCH STATE"}, list(range(119, 69, -1))),
    ],
    ids=str,
)
def test_an_address_says_which_runs_are_shown(
    open_page: Page, several: list[str], query: JsonObject, expected: list[int]
) -> None:
    page = open_page("runs", **query)

    assert not page.error
    assert _shown(page) == expected


def test_what_is_chosen_on_the_page_goes_into_its_address(
    open_page: Page, several: list[str]
) -> None:
    page = open_page("runs")

    page.selectbox(key="pipeline").set_value("score").run()
    page.text_input(key="where").set_value("params.lr < 0.2").run()
    page.selectbox(key="sort").set_value("params.lr").run()
    query = dict(page.query_params)

    assert query == {"pipeline": "score", "where": "params.lr < 0.2", "sort": "params.lr"}
    assert _shown(page) == _shown(open_page("runs", **query)) == list(range(18, -1, -2))


def test_another_filter_begins_at_the_first_page(open_page: Page, several: list[str]) -> None:
    page = open_page("runs", page="3")
    page.selectbox(key="env").set_value("dev").run()

    assert "page" not in page.query_params
    assert len(_shown(page)) == 40


def test_the_selection_can_be_cleared(open_page: Page, several: list[str]) -> None:
    page = open_page("runs", pick=[several[0], several[2]])
    assert "2 selected" in [caption.value for caption in page.caption]

    next(button for button in page.button if button.label == "Clear selection").click().run()

    assert "pick" not in page.query_params
    assert "2 selected" not in [caption.value for caption in page.caption]


def test_columns_are_picked(open_page: Page, several: list[str]) -> None:
    page = open_page("runs", columns=["name", "params.model", "metrics.evaluate.accuracy"])

    assert list(page.dataframe[0].value.columns) == [
        "open",
        "name",
        "params.model",
        "metrics.evaluate.accuracy",
    ]


def test_the_exact_time_is_a_column_beside_the_relative_one(
    open_page: Page, several: list[str]
) -> None:
    page = open_page("runs", columns=["made_at", "created_at"])

    shown = page.dataframe[0].value
    assert list(shown.columns) == ["open", "made_at", "created_at"]
    assert list(shown["made_at"]) == list(shown["created_at"])
    assert shown["made_at"].notna().all()


def test_an_expression_that_cannot_be_read_is_pointed_at(
    open_page: Page, several: list[str]
) -> None:
    page = open_page("runs", where="params.lr <<< 3")

    assert len(page.error) == 1
    assert "^" in page.code[0].value


def test_no_match_offers_all(open_page: Page, several: list[str]) -> None:
    page = open_page("runs", where="name = nobody")

    assert not page.dataframe
    assert [button.label for button in page.button if button.label == "Show all"]


def test_infinite_and_missing_metrics_have_names(
    open_page: Page, store: Store, make_run: Callable[..., Run]
) -> None:
    values = (math.nan, math.inf, -math.inf, 1.5, 10**400, 2**53 + 1)
    _put(
        store,
        *(
            make_run(
                f"run{number}00000000", name=f"r{number}", metrics=(Metric("t", "m", "x", value),)
            )
            for number, value in enumerate(values)
        ),
    )
    ids = [run.run_id for run in store.page()]

    page = open_page("runs", columns=["name", "metrics.t.x"], sort="name", up="1")

    shown = list(page.dataframe[0].value["metrics.t.x"])
    assert shown[:4] == ["NaN", "∞", "−∞", "1.5"]  # noqa: RUF001
    assert shown[5] == "9,007,199,254,740,993"
    for view in VIEWS:
        page = open_page(view, run=ids)
        assert not page.exception
        assert not [error.value for error in page.error if "internal error" in error.value]


def test_a_run_from_each_backend_is_on_one_page_side_by_side(
    open_page: Page, home: Path, pipeline: Callable[[str], Path], eventually: WaitFor
) -> None:
    from kfgcp import testing

    with testing.vertex() as vertex, testing.kubeflow() as kubeflow:
        (home / "kfgcp.toml").write_text(f"{vertex.toml('dev')}\n{kubeflow.toml('gke')}\n")
        runs = [
            api.submit(str(pipeline("echo")), env=env, params={"text": env}, name=f"on-{env}")
            for env in ("local", "dev", "gke")
        ]
        for run in runs:
            run.wait(PROCESS)

        page = open_page("runs", sort="name", up="1")
        compared = open_page("compare", run=[run.run_id for run in runs])
        shown = [open_page("run", run=run.run_id) for run in runs]

    table = page.dataframe[0].value
    assert list(zip(table["name"], table["env"], strict=True)) == [
        ("on-dev", "dev"),
        ("on-gke", "gke"),
        ("on-local", "local"),
    ]
    differences = {row["name"]: row for _, row in compared.dataframe[0].value.iterrows()}
    assert [differences["text"][run.run_id] for run in runs] == ["local", "dev", "gke"]
    assert [differences["environment"][run.run_id] for run in runs] == ["local", "dev", "gke"]
    assert [len(page.get("graphviz_chart")) for page in shown] == [1, 1, 1]
