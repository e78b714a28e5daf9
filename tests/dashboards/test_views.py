"""One run, several, launching and who may look: what each page shows and does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from streamlit.testing.v1 import AppTest

import recorded_runs
from kfgcp import api
from kfgcp.backends.base import RunRef
from kfgcp.backends.registry import load_project, open_backend
from kfgcp.model import Artifact, Run, RunState, Task, TaskKind, TaskState
from kfgcp.store.store import Store
from kfgcp_dashboard import server
from kfgcp_dashboard.links import PAGES
from patience import REQUEST, WaitFor

Page = Callable[..., AppTest]


# -- one run


@pytest.mark.parametrize("tab", ["Overview", "Tasks", "Timeline", "Artifacts", "Logs"])
def test_the_error_comes_first(open_page: Page, failed: Run, tab: str) -> None:
    page = open_page("run", run=failed.run_id, tab=tab)

    assert not page.exception
    assert page.error[0].value.startswith("boom")
    assert "no luck with 7" in page.error[0].value
    assert "raise ValueError" in page.code[0].value


def test_a_task_that_is_picked_is_shown_whole(open_page: Page, failed: Run) -> None:
    page = open_page("run", run=failed.run_id, tab="Tasks", task="boom")

    inputs = next(
        table.value for table in page.dataframe if list(table.value.columns) == ["name", "value"]
    )
    assert [list(row) for row in inputs.to_numpy()] == [["x", "7"]]
    assert "Not from the cache" in " ".join(text.value for text in page.text)


def test_its_log_can_be_read_and_searched(open_page: Page, failed: Run) -> None:
    whole = open_page("run", run=failed.run_id, tab="Logs", task="boom")
    matching = open_page("run", run=failed.run_id, tab="Logs", task="boom", lines="ABOUT")

    assert "about to fail" in whole.code[-1].value
    assert "Traceback" in whole.code[-1].value
    assert matching.code[-1].value == "about to fail"


def test_a_missing_run_is_reported(open_page: Page, failed: Run) -> None:
    page = open_page("run", run="zzzz99999999")

    assert "zzzz99999999" in page.error[0].value


def test_notes_and_tags_are_kept_in_the_store(open_page: Page, failed: Run, store: Store) -> None:
    page = open_page("run", run=failed.run_id)
    page.text_area[0].set_value("first try\n<b>not bold</b>").run()
    page.multiselect[0].set_value(["baseline", "two words,three"]).run()

    stored_run = store.get(failed.run_id)
    assert (stored_run.note, stored_run.tags) == (
        "first try\n<b>not bold</b>",
        ("baseline", "three", "two", "words"),
    )
    assert [*open_page("runs", where="first try").dataframe[0].value["tags"][0]] == [
        *stored_run.tags
    ]


def test_only_looking_leaves_everything_as_it_is(
    open_page: Page, failed: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.options, "read_only", True)
    page = open_page("run", run=failed.run_id)

    assert page.text_area[0].disabled
    assert {button.label: button.disabled for button in page.button} == {
        "Compare": False,
        "Rerun": True,
    }
    assert next(
        button for button in open_page("launch").button if button.label == "Launch"
    ).disabled


def test_what_is_no_longer_allowed_is_refused(
    open_page: Page, failed: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page("run", run=failed.run_id)
    _press(page, "Rerun")
    monkeypatch.setattr(server.options, "read_only", True)
    page.text_area[0].set_value("too late").run()
    _press(page, "Rerun now")

    assert (store.count(), store.get(failed.run_id).note) == (1, "")
    assert [error for error in page.error if "read" in error.value]


def test_a_question_stays_open_while_the_page_is_drawn_again(open_page: Page, failed: Run) -> None:
    page = open_page("run", run=failed.run_id)
    _press(page, "Rerun")
    page.run()
    assert "Rerun now" in [button.label for button in page.button]
    _press(page, "Close")

    assert "Rerun now" not in [button.label for button in page.button]


def test_it_is_repeated_after_a_confirmation(
    open_page: Page, failed: Run, store: Store, eventually: WaitFor
) -> None:
    page = open_page("run", run=failed.run_id)
    _press(page, "Rerun")
    assert store.count() == 1
    _press(page, "Rerun now")

    assert store.count() == 2
    eventually(lambda: store.page()[0].state.final)


def test_it_is_cancelled_after_a_confirmation(
    open_page: Page, home: Path, pipeline: Callable[[str], Path], store: Store, eventually: WaitFor
) -> None:
    run = api.submit(str(pipeline("sleeps")), params={"seconds": 600.0})
    eventually(lambda: any(task.state is TaskState.RUNNING for task in store.tasks(run.run_id)))
    page = open_page("run", run=run.run_id)
    _press(page, "Cancel")
    assert store.cancel_requests(run.run_id) == 0
    _press(page, "Cancel the run")

    eventually(lambda: store.get(run.run_id).state is RunState.CANCELLED)


def _press(page: AppTest, label: str) -> None:
    next(button for button in page.button if button.label == label).click().run()


def test_an_artifact_in_a_bucket_is_read_when_somebody_asks(
    open_page: Page, home: Path, store: Store, make_run: Callable[..., Run]
) -> None:
    """But only below a pipeline root: the dashboard may read what those who look may not."""
    from kfgcp import testing

    with testing.vertex() as vertex:
        (home / "kfgcp.toml").write_text(vertex.toml("dev"))
        inside, outside = (
            f"{vertex.pipeline_root}/report.md",
            f"gs://{vertex.bucket}-other/secret.md",
        )
        folder = inside.removeprefix(f"gs://{vertex.bucket}/")
        url = f"{vertex.storage_endpoint}/upload/storage/v1/b/{vertex.bucket}/o"
        query = {"uploadType": "media", "name": folder}
        requests.post(url, params=query, data="# all is well", timeout=REQUEST).raise_for_status()
        kinds = [
            Artifact("t", name, "system.Markdown", uri)
            for name, uri in (("in", inside), ("out", outside))
        ]
        store.add_run(make_run(artifacts=tuple(kinds)))
        page = open_page("run", tab="Artifacts", artifact="t/in")
        _press(page, "Show the beginning")
        other = open_page("run", tab="Artifacts", artifact="t/out")

    assert page.code[-1].value == "# all is well"
    assert "Show the beginning" not in [button.label for button in other.button]


def test_an_artifact_in_the_store_of_a_server_is_read_through_its_ui_server(
    open_page: Page, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    run_id = recorded_runs.read("artifacts")["run_id"]
    with recorded_runs.serve(["artifacts"]) as recorded:
        text = (
            f'[env.recorded]\nbackend = "kubeflow"\nhost = "{recorded.url}"\nauth = "anonymous"\n'
        )
        (home / "kfgcp.toml").write_text(text)
        project = load_project()
        run = open_backend(project, project.env("recorded")).get(RunRef("recorded", run_id))
        (note,) = [artifact for artifact in run.artifacts if artifact.name == "note"]
        recorded.objects["minio", "mlpipeline", note.uri.removeprefix("minio://mlpipeline/")] = (
            b"# all is well"
        )

        page = open_page("run", run=run_id, tab="Artifacts", artifact="train/note")
        _press(page, "Show the beginning")

    assert page.code[-1].value == "# all is well"


# -- several runs


def test_runs_side_by_side(open_page: Page, several: list[str]) -> None:
    page = open_page("compare", run=["run000000001", "run000000003"])

    table = page.dataframe[0].value
    assert list(table.columns) == ["group", "name", "run000000001", "run000000003"]
    cells_by_name = {
        row["name"]: (row["run000000001"], row["run000000003"]) for _, row in table.iterrows()
    }
    assert cells_by_name["lr"] == ("0.01", "0.03   +0.02")
    assert cells_by_name["accuracy"] == ("0.999", "0.997   −0.002 ▽")  # noqa: RUF001
    assert cells_by_name["experiment"] == ("exp-1", "exp-3")
    assert "pipeline" not in cells_by_name


def test_missing_runs_are_reported_and_the_others_compared(
    open_page: Page, several: list[str]
) -> None:
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
        store.add_run(
            make_run(
                f"run{number}00000000", version=f"sha256:{version * 64}", state=state, created_at=at
            )
        )

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
    assert "config, items, ratio, text are required" in page.error[0].value.replace(
        "\\", ""
    ).replace("\u2060", "")


def test_a_run_is_launched_after_a_confirmation(
    open_page: Page, home: Path, pipeline: Callable[[str], Path], store: Store, eventually: WaitFor
) -> None:
    (home / "echo.yaml").write_bytes(pipeline("echo").read_bytes())
    page = open_page("launch", pipeline="echo.yaml")
    page.text_input(key="p.text").set_value("from the form").run()
    page.text_input(key="name").set_value("launched").run()

    _press(page, "Check")
    assert len(page.success) == 1
    _press(page, "Launch")
    assert store.count() == 0
    _press(page, "Launch now")

    (run,) = store.page()
    assert (run.name, run.params) == ("launched", {"text": "from the form"})
    eventually(lambda: store.get(run.run_id).state is RunState.SUCCEEDED)
    assert store.get(run.run_id).outputs == {"Output": "from the form"}


def test_a_value_of_the_wrong_type_is_reported_before(
    open_page: Page, home: Path, pipeline: Callable[[str], Path]
) -> None:
    (home / "typed.yaml").write_bytes(pipeline("typed").read_bytes())
    page = open_page("launch", pipeline="typed.yaml", **{"p.n": "three"})

    assert "must be int" in page.error[0].value.replace("\\", "")
    assert all(button.disabled for button in page.button if button.label in ("Check", "Launch"))


# -- who may look


def test_without_a_way_to_tell_who_looks_nothing_is_shown_elsewhere(
    open_page: Page, several: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.options, "embedded", False)

    for view in PAGES:
        page = open_page(view)
        assert [title.value for title in page.title] == ["No access"]
        assert not page.dataframe


def test_with_iap_configured_nothing_is_shown_without_an_assertion(
    open_page: Page, home: Path, several: list[str]
) -> None:
    (home / "kfgcp.toml").write_text("[dashboard]\niap_audience = '/projects/1/apps/x'\n")

    for view in PAGES:
        page = open_page(view)
        assert [title.value for title in page.title] == ["No access"]
        assert not page.dataframe


def test_with_a_login_configured_people_are_asked_to_sign_in(
    open_page: Page, several: list[str]
) -> None:
    for view in PAGES:
        page = open_page(view, secrets={"auth": {"client_id": "x"}})
        assert [button.label for button in page.button] == ["Sign in"]
        assert not page.dataframe


def test_an_artifact_of_an_invalid_environment_says_what_is_wrong_with_it(
    store: Store, make_run: Callable[..., Run], open_page: Page, home: Path
) -> None:
    (home / "kfgcp.toml").write_text('[env.minio]\nbackend = "local"\ns3_endpoint = "ftp://x"\n')
    artifact = Artifact("train", "model", "system.Model", "s3://acme/model")
    store.put(make_run("aaaa00000001", env="minio", artifacts=(artifact,)))

    page = open_page("run", run="aaaa00000001", tab="Artifacts", artifact="train/model")

    assert not page.exception
    (error,) = page.error
    assert "s3\\_endpoint is" in error.value
    assert not page.get("link_button")


@pytest.mark.parametrize(
    ("setting", "links"),
    [
        ("", ["https://s3.console.aws.amazon.com/s3/buckets/acme?prefix=model"]),
        ('s3_endpoint = "https://minio.acme.example:9000"', []),
    ],
)
def test_an_artifact_on_a_server_of_ones_own_has_no_link_to_amazon(
    open_page: Page,
    home: Path,
    store: Store,
    make_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    links: list[str],
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    (home / "kfgcp.toml").write_text(f'[env.local]\nbackend = "local"\n{setting}\n')
    artifact = Artifact("train", "model", "system.Model", "s3://acme/model")
    task = Task("train", TaskKind.CONTAINER, TaskState.SUCCEEDED, 1)
    store.put(make_run("aaaa00000001", tasks=(task,), artifacts=(artifact,)))

    page = open_page("run", run="aaaa00000001", tab="Tasks", task="train")

    assert not page.exception
    assert [
        button.proto.url for button in page.get("link_button") if button.proto.label == "Open"
    ] == links
