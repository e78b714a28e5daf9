"""Deleting runs: a file is kept as long as a run uses it, and no longer."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from kfp import dsl

from kfgcp import api
from kfgcp.backends.base import Deleted
from kfgcp.backends.local import service as local
from kfgcp.engine import lock
from kfgcp.errors import UsageError
from patience import PROCESS

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def train(x: int, model: dsl.Output[dsl.Model]):
    print(f"training {x}")
    with open(model.path, "w") as file:
        file.write(f"model {x}")
    with open(model.path + ".vocab", "w") as file:  # beside the artifact, as many libraries do
        file.write("words")


@dsl.component(base_image=IMAGE)
def split(parts: dsl.Output[dsl.Dataset]):
    import os

    os.makedirs(parts.path + "/deep")
    for name in ("a.csv", "deep/b.csv"):
        with open(f"{parts.path}/{name}", "w") as file:
            file.write(name)


@dsl.component(base_image=IMAGE)
def evaluate(model: dsl.Input[dsl.Model], metrics: dsl.Output[dsl.Metrics], y: int = 0):
    with open(model.path) as file:
        metrics.log_metric("letters", len(file.read()) + y)


@dsl.component(base_image=IMAGE)
def add(x: int) -> int:
    print(f"adding {x}")
    return x + 1


@dsl.pipeline(name="trains")
def trains(x: int = 1, y: int = 0):
    trained = train(x=x)
    evaluate(model=trained.outputs["model"], y=y)


@dsl.pipeline(name="inner")
def inner(x: int):
    train(x=x)


@dsl.pipeline(name="nests")
def nests():
    inner(x=1)
    with dsl.ParallelFor([2, 3]) as item:
        train(x=item)
    split()


@dsl.pipeline(name="adds")
def adds(x: int = 1) -> int:
    return add(x=x).output


def path_of(run, name="model", task="train"):
    uri = next(
        artifact.uri for artifact in run.artifacts if (artifact.task, artifact.name) == (task, name)
    )
    return Path(unquote(urlsplit(uri).path))


def files_below(*folders):
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def state(home):
    return home / ".kfgcp"


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_the_files_of_a_cached_run_outlive_the_run_that_made_them(execute, states):
    first = execute(trains)
    best = execute(trains, name="best")
    assert states(best) == {"train": "CACHED", "evaluate": "CACHED"}

    deleted = api.delete(first.run_id)

    assert deleted == Deleted(kept_files=2, kept_logs=2, used_by=("best",))
    assert path_of(best).read_text() == "model 1"
    assert Path(f"{path_of(best)}.vocab").read_text() == "words"
    again = api.rerun(best.run_id).snapshot
    assert states(again) == {"train": "CACHED", "evaluate": "CACHED"}
    assert states(execute(trains)) == {"train": "CACHED", "evaluate": "CACHED"}


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_the_last_run_that_uses_a_file_takes_it_along(execute, state, states):
    first, second, third = execute(trains), execute(trains), execute(trains)
    path = path_of(third)
    for run in (first, second):
        api.delete(run.run_id)
        assert path.exists()

    assert api.delete(third.run_id) == Deleted()

    assert files_below(state / "artifacts", state / "logs") == []
    assert [*(state / "artifacts" / "trains").iterdir()] == [*(state / "logs").iterdir()] == []
    run = execute(trains)
    assert states(run) == {"train": "SUCCEEDED", "evaluate": "SUCCEEDED"}
    assert run.tasks[0].cache.reason == f"run {first.run_id} and its files were deleted"


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_what_no_other_run_uses_goes_at_once(execute, state):
    first = execute(trains)
    other = execute(trains, {"y": 5})  # its evaluation is its own

    deleted = api.delete(first.run_id)

    assert deleted.used_by == (other.name,)
    kept = files_below(state / "artifacts", state / "logs")
    of_first = [path for path in kept if first.run_id in str(path)]
    # A log that was written over more than a second has a file of times beside it.
    assert {
        path.parent.parent.name for path in of_first if path.suffix not in (".log", ".times")
    } == {"train"}
    assert [path.parent.name for path in of_first if path.suffix == ".log"] == ["train"]


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_nested_pipelines_loops_and_folders(execute, state, states):
    first = execute(nests)
    second = execute(nests)
    before = files_below(state / "artifacts", state / "logs")

    api.delete(first.run_id)

    assert files_below(state / "artifacts", state / "logs") == before
    parts = path_of(second, "parts", "split")
    assert (parts / "deep" / "b.csv").read_text() == "deep/b.csv"
    assert path_of(second, task="for-loop-2[1]/train").read_text() == "model 3"
    assert set(states(api.rerun(second.run_id).snapshot).values()) == {
        "CACHED",
        "SUCCEEDED",
    }  # DAGs are not cached


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_an_imported_artifact_of_another_run_is_used_by_the_importer(execute):
    @dsl.pipeline(name="imports")
    def imports(uri: str):
        imported = dsl.importer(artifact_uri=uri, artifact_class=dsl.Model)
        evaluate(model=imported.output)

    first = execute(trains)
    path = path_of(first)
    importing = execute(imports, {"uri": str(path)}, name="importing")

    assert api.delete(first.run_id).used_by == ("importing",)
    assert path.exists()
    api.delete(importing.run_id)
    assert not path.exists()


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_an_output_that_is_the_file_of_another_task(execute):
    """A component may say that its output is the file that it read. Here the task that made it runs
    again."""

    @dsl.component(base_image=IMAGE)
    def choose(model: dsl.Input[dsl.Model], chosen: dsl.Output[dsl.Model]):
        chosen.uri = model.uri

    @dsl.pipeline(name="chooses")
    def chooses(uri: str):
        choose(model=dsl.importer(artifact_uri=uri, artifact_class=dsl.Model).output)

    maker = execute(trains)
    first = execute(chooses, {"uri": str(path_of(maker))})
    second = execute(chooses, {"uri": str(path_of(maker))})
    for run in (maker, first):
        api.delete(run.run_id)

    path = path_of(second, "chosen", "choose")
    assert path == path_of(maker)
    assert path.read_text() == "model 1"
    api.delete(second.run_id)
    assert not path.exists()


@pytest.mark.rule("Artifacts: files outside of the state folder are never deleted")
def test_files_that_are_not_in_the_state_folder_stay(execute, home):
    (home / "kfgcp.toml").write_text('[env.local]\nbackend = "local"\npipeline_root = "out"\n')
    mine = home / "mine.txt"
    mine.write_text("mine")

    @dsl.pipeline(name="imports")
    def imports(uri: str):
        evaluate(model=dsl.importer(artifact_uri=uri, artifact_class=dsl.Model).output)
        train(x=1)

    run = execute(imports, {"uri": str(mine)})
    model = path_of(run)
    assert model.is_relative_to(home / "out")

    api.delete(run.run_id)

    assert mine.read_text() == "mine"
    assert model.read_text() == "model 1"


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_a_link_to_a_file_of_the_user_is_removed_and_the_file_stays(execute, home, state):
    (home / "data").mkdir()
    (home / "data" / "big.csv").write_text("mine")

    @dsl.component(base_image=IMAGE)
    def link(folder: str, data: dsl.Output[dsl.Dataset]):
        import os

        os.symlink(folder, data.path)

    @dsl.pipeline(name="links")
    def links(folder: str):
        link(folder=folder)

    run = execute(links, {"folder": str(home / "data")})
    api.delete(run.run_id)

    assert (home / "data" / "big.csv").read_text() == "mine"
    assert [*(state / "artifacts" / "links").iterdir()] == []


@pytest.mark.rule("Caching: the log of a cached task is that of the task that ran")
def test_the_log_of_a_cached_task_is_that_of_the_task_that_ran(execute, log, states):
    first = execute(adds)
    second = execute(adds)
    third = api.rerun(second.run_id).snapshot
    assert states(third) == {"add": "CACHED"}
    lines = log(first, "add")
    assert "adding 1" in lines

    for deleted in (first, second):
        api.delete(deleted.run_id)

    assert log(third, "add") == lines
    with pytest.raises(UsageError):
        log(first, "add")


@pytest.mark.rule("Caching: every task records why it hit or missed")
def test_a_hit_names_a_run_that_is_there(execute):
    first, second = execute(adds), execute(adds)
    api.delete(first.run_id)

    assert execute(adds).tasks[0].cache.reason == f"same code and inputs as in run {second.run_id}"


@pytest.mark.rule("Caching: a hit whose artifacts are gone is a miss")
def test_a_repeated_run_that_is_deleted_before_the_repetition_starts_gives_nothing(
    execute, record_repetition, states
):
    """Its outputs were read already, but their log is gone: nothing must refer to it."""
    first = execute(adds)
    repetition = record_repetition(first.run_id)
    api.delete(first.run_id)

    repetition.execute()

    assert states(api.show(repetition.run_id).snapshot) == {"add": "SUCCEEDED"}


def test_a_run_whose_engine_still_holds_it_is_not_deleted(execute, home, monkeypatch):
    run = execute(adds)
    monkeypatch.setattr(local, "ENDING_SECONDS", 0)
    held = lock.take(home / ".kfgcp", run.run_id)
    assert held is not None
    try:
        with pytest.raises(UsageError, match="is still running"):
            api.delete(run.run_id)
    finally:
        held.release()
    assert api.show(run.run_id).outputs == {"Output": 2}


def test_a_run_that_was_resumed_meanwhile_is_not_deleted(execute, store):
    run = execute(adds)
    handle = api.show(run.run_id)
    store.reopen(run.run_id)
    handle.backend.get = lambda ref: run  # as it was when the deletion began
    try:
        with pytest.raises(UsageError, match="is RUNNING"):
            handle.delete()
    finally:
        del handle.backend.get
    assert store.outcomes(run.run_id)


def test_processes_that_delete_at_the_same_time(execute, state):
    """Each run is deleted once, whoever was first; two runs that use the same files take them along
    together."""
    runs = [execute(trains) for _ in range(4)]
    code = (
        "import sys\n"
        "from kfgcp import api\n"
        "from kfgcp.errors import UsageError\n"
        "for run in sys.argv[1:]:\n"
        "    try:\n"
        "        api.delete(run)\n"
        "    except UsageError as error:\n"
        "        assert 'There is no run' in str(error), error\n"
        "    else:\n"
        "        print(run)\n"
    )
    ids = [run.run_id for run in runs]
    orders = [ids, ids[::-1], ids[2:] + ids[:2]]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *order],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    ended = [process.communicate(timeout=PROCESS) for process in started]

    assert [err for _, err in ended] == [""] * 3
    assert sorted("".join(out for out, _ in ended).split()) == sorted(ids)
    assert files_below(state / "artifacts", state / "logs") == []


def test_show_says_which_files_were_deleted(execute, home, kfgcp):
    run = execute(trains)
    path_of(run).unlink()

    shown = kfgcp("show", run.run_id)
    assert [line.split() for line in shown.out.splitlines() if line.startswith("train/model")] == [
        ["train/model", "system.Model", "deleted"]
    ]
    assert ["evaluate/metrics", "system.Metrics", "metadata-only"] in [
        line.split() for line in shown.out.splitlines()
    ]
    artifacts = {
        artifact["task"]: artifact
        for artifact in kfgcp("show", run.run_id, "--json").json["artifacts"]
    }
    assert artifacts["train"]["deleted"] is True
    assert "deleted" not in artifacts["evaluate"]


def test_delete_says_what_it_keeps_and_for_whom(execute, kfgcp):
    first = execute(trains)
    for number in range(5):
        execute(trains, name=f"copy-{number}")

    result = kfgcp("delete", first.run_id, "--yes")

    kept = "2 files kept: used by runs copy-0, copy-1, copy-2 and 2 more"
    assert (result.code, result.out) == (0, f"{first.run_id}  deleted, {kept}\n")
    only_logs = execute(adds)
    execute(adds, name="best")
    result = kfgcp("delete", only_logs.run_id, "--yes")
    assert result.out == f"{only_logs.run_id}  deleted, 1 log kept: used by run best\n"


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_an_artifact_that_a_run_was_given_is_kept_although_no_task_has_taken_it(execute, home):
    producer_run = execute(trains)
    uri = path_of(producer_run).as_uri()

    @dsl.component(base_image=IMAGE)
    def read(data: dsl.Input[dsl.Model]) -> str:
        with open(data.path) as file:
            return file.read()

    @dsl.component(base_image=IMAGE)
    def decide() -> bool:
        return False

    @dsl.pipeline(name="given")
    def given(data: dsl.Input[dsl.Model]):
        with dsl.If(decide().output == True):  # noqa: E712
            read(data=data)

    run = execute(given, {"data": uri})

    assert api.delete(producer_run.run_id) == Deleted(
        kept_files=2, kept_logs=1, used_by=(run.name,)
    )
    assert path_of(producer_run).read_text() == "model 1"
    api.delete(run.run_id)
    assert not path_of(producer_run).exists()


@dsl.component(base_image=IMAGE)
def count_files(data: dsl.Input[dsl.Artifact]) -> int:
    import os

    return sum(len(names) for _, _, names in os.walk(data.path, followlinks=True))


@dsl.pipeline(name="imports-folder")
def imports_folder(uri: str):
    count_files(data=dsl.importer(artifact_uri=uri, artifact_class=dsl.Artifact).output)


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
@pytest.mark.parametrize(
    ("folder", "tasks"),
    [
        ("run", {"train", "for-loop-2[0]", "for-loop-2[1]", "split"}),
        ("run, slash", {"train", "for-loop-2[0]", "for-loop-2[1]", "split"}),
        ("run, dots", {"train", "for-loop-2[0]", "for-loop-2[1]", "split"}),
        ("run, link", {"train", "for-loop-2[0]", "for-loop-2[1]", "split"}),
        ("pipeline", {"train", "for-loop-2[0]", "for-loop-2[1]", "split"}),
        ("artifacts", {"train", "for-loop-2[0]", "for-loop-2[1]", "split"}),
        ("task", {"split"}),
        ("iteration", {"for-loop-2[1]"}),
    ],
)
def test_an_imported_folder_above_attempts_keeps_their_files(folder, tasks, execute, state, home):
    producer_run = execute(nests)
    run_folder = state / "artifacts" / "nests" / producer_run.run_id
    (home / "link").symlink_to(run_folder)
    uri = {
        "run": run_folder,
        "run, slash": f"{run_folder}/",
        "run, dots": f"{state}/artifacts/nests/../nests/{producer_run.run_id}",
        "run, link": home / "link",
        "pipeline": run_folder.parent,
        "artifacts": state / "artifacts",
        "task": run_folder / "split",
        "iteration": run_folder / "for-loop-2[1]",
    }[folder]
    before = {path for path in files_below(run_folder) if path.name != "executor_output.json"}
    importing = execute(imports_folder, {"uri": str(uri)}, name="importing")
    expected = {path for path in before if _task_of(path, run_folder) in tasks}

    deleted = api.delete(producer_run.run_id)

    kept = {path for path in files_below(run_folder) if path.name != "executor_output.json"}
    assert kept == expected
    assert deleted.used_by == ("importing",)
    api.delete(importing.run_id)
    assert files_below(run_folder) == []


def _task_of(path, run_folder):
    """The first part of the path of the task that made a file; of a nested pipeline, its task."""
    parts = path.relative_to(run_folder).parts
    return parts[1] if parts[0] == "inner" else parts[0]


@pytest.mark.rule("Artifacts: an artifact file is deleted only when no run refers to it any more")
def test_a_link_to_an_artifact_of_another_run_keeps_it(execute, home):
    producer_run = execute(trains)
    (home / "best").symlink_to(path_of(producer_run))
    execute(imports_folder, {"uri": "best"}, name="importing")

    assert api.delete(producer_run.run_id).used_by == ("importing",)
    assert (home / "best").read_text() == "model 1"
