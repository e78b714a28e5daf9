"""Artifacts that a pipeline is given as URIs, on the embedded engine."""

import json
import os
from pathlib import Path

import pytest
from kfp import dsl

from kfgcp import api
from kfgcp.engine import file_states
from kfgcp.errors import ParamError

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    import json

    with open(data.path) as file:
        return json.dumps([file.read(), data.schema_title, data.uri])


@dsl.component(base_image=IMAGE)
def read_all(data: dsl.Input[list[dsl.Dataset]]) -> str:
    import json

    return json.dumps([open(item.path).read() for item in data])


@dsl.pipeline(name="inner")
def inner(data: dsl.Input[dsl.Dataset]):
    read(data=data)


@dsl.pipeline(name="given")
def given(data: dsl.Input[dsl.Dataset]):
    read(data=data)
    inner(data=data)


@dsl.pipeline(name="given-list")
def given_list(data: dsl.Input[list[dsl.Dataset]]):
    read_all(data=data)


@pytest.mark.rule("Values: root input artifacts are given as URIs")
@pytest.mark.parametrize("form", ["absolute", "relative", "file", "escaped"])
def test_a_file_of_this_machine_is_an_artifact_of_the_declared_type(form, execute, written, home):
    file = home / "some data.csv"
    file.write_text("content")
    uri = {
        "absolute": str(file),
        "relative": "some data.csv",
        "file": f"file://{file}",
        "escaped": file.as_uri(),
    }[form]

    run = execute(given, {"data": uri})

    assert run.state == "SUCCEEDED"
    assert run.params == {"data": uri}
    assert (
        written(run, "read")
        == written(run, "inner/read")
        == ["content", "system.Dataset", str(file)]
    )


@pytest.mark.rule("Values: root input artifacts are given as URIs")
def test_a_changed_file_is_read_again(execute, states, home):
    (home / "data").write_text("one")
    execute(given, {"data": "data"})
    same = execute(given, {"data": "data"})
    (home / "data").write_text("two, longer")
    changed = execute(given, {"data": "data"})

    assert states(same)["read"] == "CACHED"
    assert states(changed)["read"] == "SUCCEEDED"


@pytest.mark.rule("Values: root input artifacts are given as URIs")
def test_a_list_of_artifacts(execute, written, home):
    for name in ("a", "b"):
        (home / name).write_text(f"content of {name}")

    assert written(execute(given_list, {"data": ["a", "b"]}), "read-all") == [
        "content of a",
        "content of b",
    ]
    assert written(execute(given_list, {"data": "a"}), "read-all") == ["content of a"]


@pytest.mark.rule(
    "Values: a missing root input artifact that is not optional is refused before anything starts"
)
@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, "data is required"),
        ({"data": ""}, "data must be the URI of an artifact, not ''"),
        ({"data": 7}, "data must be the URI of an artifact, not 7"),
        ({"data": ["a"]}, "data must be the URI of an artifact"),
        ({"data": "a\nb"}, "data must be the URI of an artifact"),
        ({"data": None}, "data must be artifact, not null"),
        ({"data": "nobody/has/this"}, "the artifact data does not exist: .*nobody/has/this"),
        ({"date": "a"}, r"date is unknown \(did you mean data\?\); data is required"),
    ],
)
def test_what_is_not_an_artifact_is_refused_before_anything_starts(params, problem, execute, home):
    with pytest.raises(ParamError, match=f"Wrong parameters: {problem}"):
        execute(given, params)
    assert not (home / ".kfgcp" / "logs").exists()


@pytest.mark.rule("Values: root input artifacts are given as URIs")
def test_from_the_command_line(kfgcp, home, compiled):
    (home / "given.json").write_text(json.dumps(compiled(given)))
    (home / "data=1.csv").write_text("content")

    result = kfgcp("run", "given.json", "-p", "data=data=1.csv", "--json")
    missing = kfgcp("run", "given.json", "--json")

    assert result.code == 0
    outputs = {task["path"]: task["outputs"] for task in result.json["tasks"]}
    assert json.loads(outputs["read"]["Output"])[0] == "content"
    assert missing.code == 2
    assert "data is required" in missing.err
    assert "artifact" in kfgcp("compile", "given.json").out


@pytest.mark.parametrize("form", ["relative", "absolute", "path"])
def test_a_new_path_of_a_rerun_starts_from_the_current_folder(
    form, execute, written, home, monkeypatch
):
    (home / "data").write_text("first")
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").write_text("second")
    first = execute(given, {"data": "data"})
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("KFGCP_HOME", str(home / ".kfgcp"))

    same = api.rerun(first.run_id).snapshot
    value = {"relative": "data", "absolute": str(elsewhere / "data"), "path": Path("data")}[form]
    changed = api.rerun(first.run_id, params={"data": value}).snapshot

    assert written(same, "read")[0] == "first"
    assert written(changed, "read")[0] == "second"
    assert changed.params == {"data": str(elsewhere / "data")}


def test_the_new_paths_of_a_list_start_from_the_current_folder(execute, written, home, monkeypatch):
    (home / "data").write_text("first")
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").write_text("second")
    first = execute(given_list, {"data": ["data"]})
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("KFGCP_HOME", str(home / ".kfgcp"))

    changed = api.rerun(first.run_id, params={"data": ["data", str(home / "data")]}).snapshot

    assert written(changed, "read-all") == ["second", "first"]


@dsl.component(base_image=IMAGE)
def read_folder(data: dsl.Input[dsl.Dataset]) -> str:
    import json
    import os

    words = {}
    for folder, _, names in os.walk(data.path):
        for name in names:
            with open(os.path.join(folder, name)) as file:
                words[name] = file.read()
    return json.dumps(words, sort_keys=True)


@dsl.pipeline(name="given-folder")
def given_folder(data: dsl.Input[dsl.Dataset]):
    read_folder(data=data)


@dsl.pipeline(name="imports-folder")
def imports_folder(data: str):
    read_folder(data=dsl.importer(artifact_uri=data, artifact_class=dsl.Dataset).output)


@pytest.fixture
def folder(home):
    (home / "data" / "deep" / "empty").mkdir(parents=True)
    (home / "data" / "deep" / "a.csv").write_text("one")
    (home / "elsewhere.csv").write_text("one")
    (home / "data" / "link.csv").symlink_to(home / "elsewhere.csv")
    (home / "data" / "link").symlink_to(home / ".kfgcp")
    return home / "data"


@pytest.mark.rule(
    "Caching: a folder that an artifact names is read again when something in it has changed"
)
@pytest.mark.parametrize("pipeline", [given_folder, imports_folder], ids=["given", "imported"])
@pytest.mark.parametrize(
    "change", ["content", "time", "new file", "new folder", "name", "removed", "linked file"]
)
def test_a_changed_folder_is_read_again(change, pipeline, execute, states, folder):
    execute(pipeline, {"data": "data"})
    assert states(execute(pipeline, {"data": "data"}))["read-folder"] == "CACHED"

    file = folder / "deep" / "a.csv"
    if change == "content":
        file.write_text("two, longer")
    elif change == "time":
        os.utime(file, ns=(0, 0))
    elif change == "new file":
        (folder / "b.csv").write_text("two")
    elif change == "new folder":
        (folder / "deep" / "more").mkdir()
    elif change == "name":
        file.rename(file.with_name("b.csv"))
    elif change == "removed":
        file.unlink()
    else:
        (folder.parent / "elsewhere.csv").write_text("two, longer")
    run = execute(pipeline, {"data": "data"})

    assert states(run)["read-folder"] == "SUCCEEDED"
    assert (
        next(task for task in run.tasks if task.path == "read-folder").cache.reason
        == "inputs changed: data"
    )


@pytest.mark.rule(
    "Caching: a folder that an artifact names is read again when something in it has changed"
)
def test_a_folder_with_more_files_than_are_looked_at_is_read_again(
    execute, states, folder, monkeypatch
):
    monkeypatch.setattr(file_states, "MOST_ENTRIES", 5)
    execute(given_folder, {"data": "data"})
    assert states(execute(given_folder, {"data": "data"})) == {"read-folder": "CACHED"}
    (folder / "more.csv").write_text("sixth")
    execute(given_folder, {"data": "data"})
    last = execute(given_folder, {"data": "data"})

    reason = (
        f"the folder {folder} has more than 5 files and folders, so kfgcp cannot see changes in it"
    )
    assert states(last) == {"read-folder": "SUCCEEDED"}
    assert last.tasks[0].cache.reason == reason
    handle = api.rerun(last.run_id, in_process=True, check=False)
    rerun = handle.refresh().snapshot
    assert states(rerun) == {"read-folder": "SUCCEEDED"}
    assert rerun.tasks[0].cache.reason == reason


@pytest.mark.rule(
    "Caching: a folder that an artifact names is read again when something in it has changed"
)
def test_outputs_of_runs_are_not_looked_through(tmp_path):
    outputs = tmp_path / "artifacts"
    attempt = outputs / "pipeline" / "0123456789ab" / "task" / "1"
    (attempt / "data").mkdir(parents=True)
    states = file_states.FileStates(str(tmp_path), [str(outputs)])

    assert states.artifact_state(str(attempt / "data"), 0) is None
    assert states.artifact_state(str(outputs / "pipeline"), 0) is not None
    assert states.artifact_state(str(outputs / "pipeline" / "0123456789ab"), 0) is not None


@pytest.mark.rule(
    "Caching: a file of this machine that a parameter names is read again when it has changed"
)
def test_the_folder_that_a_text_names_is_not_looked_through(tmp_path):
    states = file_states.FileStates(str(tmp_path), [])

    assert [
        states.parameter_state(text) for text in (".", "/", str(tmp_path), "\0", "\ud800", "", 7)
    ] == [None] * 7


class Clock:
    """A clock that is one second later at each look."""

    seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


def test_a_look_is_used_while_no_attempt_ends(tmp_path):
    clock = Clock()
    states = file_states.FileStates(str(tmp_path), [], clock)
    (tmp_path / "data").mkdir()
    before = states.artifact_state("data", 0)
    (tmp_path / "data" / "new.csv").touch()
    clock.seconds = 10_000

    assert states.artifact_state("data", 0) == before
    states.ended_attempts = 1
    assert states.artifact_state("data", 1) != before


def test_tasks_that_were_ready_before_share_a_look_for_a_short_time(tmp_path):
    clock = Clock()
    states = file_states.FileStates(str(tmp_path), [], clock)
    (tmp_path / "data").mkdir()
    states.ended_attempts = 3
    before = states.artifact_state(
        "data", 3
    )  # looking takes a second, so it is used for 20 seconds
    (tmp_path / "data" / "new.csv").touch()
    states.ended_attempts = 4

    assert states.artifact_state("data", 3) == before, (
        "the artifact was ready before the attempt ended"
    )
    clock.seconds = 30
    assert states.artifact_state("data", 3) != before, "the look is old"


def test_a_task_that_became_ready_after_the_look_looks_again(tmp_path):
    states = file_states.FileStates(str(tmp_path), [], Clock())
    (tmp_path / "data").mkdir()
    before = states.artifact_state("data", 0)
    (tmp_path / "data" / "new.csv").touch()
    states.ended_attempts = 1

    assert states.artifact_state("data", 1) != before


@dsl.component(base_image="python:3.11")
def read_in_a_loop(data: dsl.Input[dsl.Artifact], number: int):
    pass


@dsl.pipeline(name="reads-in-a-loop")
def reads_in_a_loop(data: dsl.Input[dsl.Artifact]):
    with dsl.ParallelFor([1, 2, 3, 4, 5, 6]) as number:
        read_in_a_loop(data=data, number=number)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("most_entries", [1, 10_000])
def test_the_tasks_of_a_loop_do_not_each_look_through_a_folder(
    execute, folder, monkeypatch, cache, most_entries
):
    """Also when it has more files than are looked at."""
    looks = []
    real_look = file_states._entries
    monkeypatch.setattr(file_states, "MOST_ENTRIES", most_entries)
    monkeypatch.setattr(file_states, "_entries", lambda path: looks.append(path) or real_look(path))
    monkeypatch.setattr(file_states, "USED_TIMES_AS_LONG", 1_000_000_000)

    run = execute(reads_in_a_loop, {"data": "data"}, max_parallel=1, cache=cache)

    assert run.state == "SUCCEEDED"
    assert looks == [str(folder)]
