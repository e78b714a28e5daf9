"""Every page on real stores: what it shows, that it never shows a traceback, and that its address reproduces it."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kfgcp import api
from kfgcp.model import Artifact, Cache, ErrorInfo, Metric, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.store import Store
from kfgcp_dashboard import server

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
        Task(name or "t", TaskKind.CONTAINER, TaskState.FAILED, 2, Cache(False, name), at, at, {"x": name}, {}, error),
        Task(f"{name}[0]", TaskKind.LOOP, TaskState.RUNNING, 1, started_at=at),
    )
    return make_run(
        f"odd{number:09d}",
        name=name,
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


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("texts", [SCRIPTS, HOSTILE], ids=["scripts", "hostile"])
def test_any_text_may_stand_in_runs(
    open_page: Page, store: Store, make_run: Callable[..., Run], view: str, texts: list[str]
) -> None:
    _put(store, *(_odd(make_run, number, name) for number, name in enumerate(texts)))
    ids = [run.run_id for run in store.page()]
    for number, run_id in enumerate(ids):
        store.note(run_id, texts[number])
        store.tag(run_id, [texts[number] or "tag"])

    for query in [{}, {"run": ids[:3]}, {"run": ids[-1], "tab": "Tasks"}, {"run": ids[-1], "tab": "Artifacts"}]:
        page = open_page(view, **query)

        assert not page.exception
        assert not [said.value for said in page.error if "failed inside" in said.value]
        _assert_nothing_is_markup(page, texts)


def _assert_nothing_is_markup(page: AppTest, texts: list[str]) -> None:
    """What reads Markdown or HTML never gets a text of a run as it is."""
    marked = [text for text in texts if any(mark in text for mark in "<[$:`*")]
    read_as_markup = [
        *(element.value for element in [*page.markdown, *page.caption, *page.error, *page.warning, *page.info]),
        *(element.label for element in [*page.button, *page.expander, *page.metric, *page.selectbox]),
    ]
    for text in marked:
        assert not [shown for shown in read_as_markup if text in shown]
        assert "<" not in text or not [html for html in page.get("html") if text in html.proto.body]


def test_runs_are_a_table_newest_first(open_page: Page, store: Store, make_run: Callable[..., Run]) -> None:
    _put(
        store,
        make_run("aaaa00000001", name="old", created_at="2026-01-01T00:00:00.000Z", state=RunState.FAILED),
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


@pytest.fixture
def several(store: Store, make_run: Callable[..., Run]) -> list[str]:
    """120 runs in two pipelines and environments; every tenth has failed."""
    for number in range(120):
        store.add_run(
            make_run(
                f"run{number:09d}",
                name=f"name-{number}",
                pipeline="train" if number % 2 else "score",
                env="local" if number % 3 else "dev",
                experiment=f"exp-{number % 4}",
                state=RunState.SUCCEEDED if number % 10 else RunState.FAILED,
                created_at=f"2026-01-01T{number // 60:02d}:{number % 60:02d}:00.000Z",
                params={"lr": number / 100, "model": "abc"[number % 3]},
                metrics=(Metric("evaluate", "m", "accuracy", 1 - number / 1000),),
            )
        )
    store.note("run000000007", "the Lucky one")
    store.tag("run000000009", ["keep"])
    return [run.run_id for run in store.page()]


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
        ({"where": "name-11", "sort": "name", "up": "1"}, [11, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119]),
        ({"state": "FAILED", "sort": "params.lr", "up": "1"}, list(range(0, 120, 10))),
        ({"state": "FAILED", "sort": "metrics.evaluate.accuracy"}, list(range(0, 120, 10))),
        ({"pipeline": "no such pipeline"}, list(range(119, 69, -1))),
        ({"state": "NO SUCH STATE"}, list(range(119, 69, -1))),
    ],
    ids=str,
)
def test_an_address_says_which_runs_are_shown(
    open_page: Page, several: list[str], query: Mapping[str, Any], expected: list[int]
) -> None:
    page = open_page("runs", **query)

    assert not page.error
    assert _shown(page) == expected


def test_what_is_chosen_on_the_page_goes_into_its_address(open_page: Page, several: list[str]) -> None:
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


def test_columns_are_picked(open_page: Page, several: list[str]) -> None:
    page = open_page("runs", columns=["name", "params.model", "metrics.evaluate.accuracy"])

    assert list(page.dataframe[0].value.columns) == ["open", "name", "params.model", "metrics.evaluate.accuracy"]


def test_an_expression_that_cannot_be_read_is_pointed_at(open_page: Page, several: list[str]) -> None:
    page = open_page("runs", where="params.lr <<< 3")

    assert len(page.error) == 1
    assert "^" in page.code[0].value


def test_no_match_offers_all(open_page: Page, several: list[str]) -> None:
    page = open_page("runs", where="name = nobody")

    assert not page.dataframe
    assert [button.label for button in page.button if button.label == "Show all"]


def test_infinite_and_missing_metrics_have_names(open_page: Page, store: Store, make_run: Callable[..., Run]) -> None:
    values = (math.nan, math.inf, -math.inf, 1.5, 10**400, 2**53 + 1)
    _put(
        store,
        *(
            make_run(f"run{number}00000000", name=f"r{number}", metrics=(Metric("t", "m", "x", value),))
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
        assert not [said.value for said in page.error if "failed inside" in said.value]


# -- one run


@pytest.fixture
def failed(home: Path, pipeline: Callable[[str], Path]) -> Run:
    return api.run(str(pipeline("one_fails"))).snapshot


@pytest.mark.parametrize("tab", ["Overview", "Tasks", "Timeline", "Artifacts", "Logs"])
def test_the_error_comes_first(open_page: Page, failed: Run, tab: str) -> None:
    page = open_page("run", run=failed.run_id, tab=tab)

    assert not page.exception
    assert page.error[0].value.startswith("boom")
    assert "no luck with 7" in page.error[0].value
    assert "raise ValueError" in page.code[0].value


def test_a_task_that_is_picked_is_shown_whole(open_page: Page, failed: Run) -> None:
    page = open_page("run", run=failed.run_id, tab="Tasks", task="boom")

    inputs = next(table.value for table in page.dataframe if list(table.value.columns) == ["name", "value"])
    assert [list(row) for row in inputs.to_numpy()] == [["x", "7"]]
    assert "Not from the cache" in " ".join(text.value for text in page.text)


def test_its_log_can_be_read_and_searched(open_page: Page, failed: Run) -> None:
    whole = open_page("run", run=failed.run_id, tab="Logs", task="boom")
    some = open_page("run", run=failed.run_id, tab="Logs", task="boom", lines="ABOUT")

    assert "about to fail" in whole.code[-1].value
    assert "Traceback" in whole.code[-1].value
    assert some.code[-1].value == "about to fail"


def test_a_run_that_is_not_there_is_said(open_page: Page, failed: Run) -> None:
    page = open_page("run", run="zzzz99999999")

    assert "zzzz99999999" in page.error[0].value


def test_notes_and_tags_are_kept_in_the_store(open_page: Page, failed: Run, store: Store) -> None:
    page = open_page("run", run=failed.run_id)
    page.text_area[0].set_value("first try\n<b>not bold</b>").run()
    page.multiselect[0].set_value(["baseline"]).run()

    kept = store.get(failed.run_id)
    assert (kept.note, kept.tags) == ("first try\n<b>not bold</b>", ("baseline",))
    assert open_page("runs", where="first try").dataframe[0].value["tags"][0] == ["baseline"]


def test_only_looking_leaves_everything_as_it_is(
    open_page: Page, failed: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.options, "read_only", True)
    page = open_page("run", run=failed.run_id)

    assert page.text_area[0].disabled
    assert {button.label: button.disabled for button in page.button} == {"Compare": False, "Rerun": True}
    assert next(button for button in open_page("launch").button if button.label == "Launch").disabled


def test_what_is_no_longer_allowed_is_refused(
    open_page: Page, failed: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page("run", run=failed.run_id)
    _press(page, "Rerun")
    monkeypatch.setattr(server.options, "read_only", True)
    page.text_area[0].set_value("too late").run()
    _press(page, "Repeat it")

    assert (store.count(), store.get(failed.run_id).note) == (1, "")
    assert [said for said in page.error if "read" in said.value]


def test_a_question_stays_open_while_the_page_is_drawn_anew(open_page: Page, failed: Run) -> None:
    page = open_page("run", run=failed.run_id)
    _press(page, "Rerun")
    page.run()
    assert "Repeat it" in [button.label for button in page.button]
    _press(page, "Keep it as it is")

    assert "Repeat it" not in [button.label for button in page.button]


def test_it_is_repeated_after_a_confirmation(open_page: Page, failed: Run, store: Store, eventually: Any) -> None:
    page = open_page("run", run=failed.run_id)
    _press(page, "Rerun")
    assert store.count() == 1
    _press(page, "Repeat it")

    assert store.count() == 2
    eventually(lambda: store.page()[0].state.final)


def test_it_is_cancelled_after_a_confirmation(
    open_page: Page, home: Path, pipeline: Callable[[str], Path], store: Store, eventually: Any
) -> None:
    run = api.submit(str(pipeline("sleeps")), params={"seconds": 600.0})
    eventually(lambda: any(task.state is TaskState.RUNNING for task in store.tasks(run.run_id)))
    page = open_page("run", run=run.run_id)
    _press(page, "Cancel")
    assert store.cancel_requested(run.run_id) is None
    _press(page, "Cancel the run")

    eventually(lambda: store.get(run.run_id).state is RunState.CANCELLED)


def _press(page: AppTest, label: str) -> None:
    next(button for button in page.button if button.label == label).click().run()


# -- several runs


def test_runs_side_by_side(open_page: Page, several: list[str]) -> None:
    page = open_page("compare", run=["run000000001", "run000000003"])

    table = page.dataframe[0].value
    assert list(table.columns) == ["group", "name", "run000000001", "run000000003"]
    found = {row["name"]: (row["run000000001"], row["run000000003"]) for _, row in table.iterrows()}
    assert found["lr"] == ("0.01", "0.03   +0.02")
    assert found["accuracy"] == ("0.999", "0.997   −0.002 ▽")  # noqa: RUF001
    assert found["experiment"] == ("exp-1", "exp-3")
    assert "pipeline" not in found


def test_runs_that_are_gone_are_said_and_the_others_compared(open_page: Page, several: list[str]) -> None:
    page = open_page("compare", run=["run000000001", "gone99999999", "run000000003"])

    assert "gone99999999" in page.warning[0].value.replace("\\", "")
    assert page.dataframe


def test_twenty_runs_at_most(open_page: Page, several: list[str]) -> None:
    page = open_page("compare", run=several[:30])

    assert not page.exception
    assert len(page.dataframe[0].value.columns) == 2 + 20


def test_the_best_run_of_each_experiment(open_page: Page, several: list[str]) -> None:
    page = open_page("trends", pipeline="train", metric="evaluate/m/accuracy")
    least = open_page("trends", pipeline="train", metric="evaluate/m/accuracy", best="least")

    assert list(page.dataframe[0].value["name"]) == ["name-1", "name-3"]
    assert list(least.dataframe[0].value["name"]) == ["name-117", "name-119"]


def test_versions_are_counted(open_page: Page, store: Store, make_run: Callable[..., Run]) -> None:
    for number, version in enumerate("aab"):
        state = RunState.FAILED if number == 1 else RunState.SUCCEEDED
        at = f"2026-01-0{number + 1}T00:00:00.000Z"
        store.add_run(make_run(f"run{number}00000000", version=f"sha256:{version * 64}", state=state, created_at=at))

    table = open_page("versions").dataframe[0].value

    assert [tuple(row) for row in table[["version", "runs", "succeeded"]].to_numpy()] == [
        ("b" * 12, 1, "1 of 1"),
        ("a" * 12, 2, "1 of 2"),
    ]


# -- launching


def test_the_form_is_made_from_the_declared_parameters(
    open_page: Page, home: Path, pipeline: Callable[[str], Path]
) -> None:
    (home / "typed.yaml").write_bytes(pipeline("typed").read_bytes())

    page = open_page("launch", pipeline="typed.yaml", **{"p.n": "3", "p.flag": "true"})

    keys = {widget.key for widget in [*page.text_input, *page.text_area, *page.selectbox]}
    assert {"p.text", "p.n", "p.ratio", "p.flag", "p.items", "p.config", "p.note"} <= keys
    assert page.text_input(key="p.n").value == "3"
    assert page.selectbox(key="p.flag").options == ["true", "false"]
    assert "config, items, ratio, text are required" in page.error[0].value.replace("\\", "").replace("\u2060", "")


def test_a_run_is_launched_after_a_confirmation(
    open_page: Page, home: Path, pipeline: Callable[[str], Path], store: Store, eventually: Any
) -> None:
    (home / "echo.yaml").write_bytes(pipeline("echo").read_bytes())
    page = open_page("launch", pipeline="echo.yaml")
    page.text_input(key="p.text").set_value("from the form").run()
    page.text_input(key="name").set_value("launched").run()

    _press(page, "Check")
    assert len(page.success) == 1
    _press(page, "Launch")
    assert store.count() == 0
    _press(page, "Launch it")

    (run,) = store.page()
    assert (run.name, run.params) == ("launched", {"text": "from the form"})
    eventually(lambda: store.get(run.run_id).state is RunState.SUCCEEDED)
    assert store.get(run.run_id).outputs == {"Output": "from the form"}


def test_a_value_of_the_wrong_type_is_said_before(open_page: Page, home: Path, pipeline: Callable[[str], Path]) -> None:
    (home / "typed.yaml").write_bytes(pipeline("typed").read_bytes())
    page = open_page("launch", pipeline="typed.yaml", **{"p.n": "three"})

    assert "must be int" in page.error[0].value.replace("\\", "")
    assert all(button.disabled for button in page.button if button.label in ("Check", "Launch"))


# -- who may look


def test_without_a_way_to_tell_who_looks_nothing_is_shown_elsewhere(
    open_page: Page, several: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.options, "embedded", False)

    for view in VIEWS:
        page = open_page(view)
        assert [title.value for title in page.title] == ["No access"]
        assert not page.dataframe


def test_with_iap_configured_nothing_is_shown_without_an_assertion(
    open_page: Page, home: Path, several: list[str]
) -> None:
    (home / "kfgcp.toml").write_text("[dashboard]\niap_audience = '/projects/1/apps/x'\n")

    for view in VIEWS:
        page = open_page(view)
        assert [title.value for title in page.title] == ["No access"]
        assert not page.dataframe


def test_with_a_login_configured_people_are_asked_to_sign_in(open_page: Page, several: list[str]) -> None:
    for view in VIEWS:
        page = open_page(view, secrets={"auth": {"client_id": "x"}})
        assert [button.label for button in page.button] == ["Sign in"]
        assert not page.dataframe


def test_a_run_from_each_backend_is_on_one_page_side_by_side(
    open_page: Page, home: Path, pipeline: Callable[[str], Path], eventually: Any
) -> None:
    from kfgcp import testing

    with testing.vertex() as vertex, testing.kubeflow() as kubeflow:
        (home / "kfgcp.toml").write_text(f"{vertex.toml('dev')}\n{kubeflow.toml('gke')}\n")
        runs = [
            api.submit(str(pipeline("echo")), env=env, params={"text": env}, name=f"on-{env}")
            for env in ("local", "dev", "gke")
        ]
        for run in runs:
            run.wait(100)

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
    assert [len(each.get("graphviz_chart")) for each in shown] == [1, 1, 1]
