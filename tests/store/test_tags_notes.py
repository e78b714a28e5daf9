"""What people write about runs is kept, found, and not lost when a run is read again."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kfgcp.errors import UsageError
from kfgcp.model import Run, RunState
from kfgcp.query import RunFilter
from kfgcp.store.rows import ReadLevel
from kfgcp.store.store import Store

MakeRun = Callable[..., Run]


def test_tags_are_put_on_and_taken_off(store: Store, make_run: MakeRun) -> None:
    store.add_run(make_run("a"))

    assert store.tag("a", ["good", "b"]) == ("b", "good")
    assert store.tag("a", ["good"], remove=["b", "never"]) == ("good",)
    assert store.get("a").tags == store.page()[0].tags == ("good",)


@pytest.mark.parametrize(
    "tag",
    [
        "",
        "two words",
        "a,b",
        "line\nbreak",
        "tab\t",
        "no\u00a0break",
        "x" * 65,
        "\x1b[31m",
        "\u202e",
    ],
)
def test_an_invalid_tag_is_refused_and_changes_nothing(
    store: Store, make_run: MakeRun, tag: str
) -> None:
    store.add_run(make_run("a", tags=("old",)))

    with pytest.raises(UsageError, match="cannot be a tag"):
        store.tag("a", ["good", tag], remove=["old"])

    assert store.get("a").tags == ("old",)


@pytest.mark.parametrize("tag", ["größer", "日本", "v1.10", "x" * 64, "a;b", "'--", "👩\u200d🚀"])
def test_words_of_any_script_and_signs_are_tags(store: Store, make_run: MakeRun, tag: str) -> None:
    store.add_run(make_run("a"))

    assert store.tag("a", [tag]) == (tag,)


def test_a_note_takes_the_place_of_the_one_before_and_an_empty_one_removes_it(
    store: Store, make_run: MakeRun
) -> None:
    store.add_run(make_run("a"))
    for text in ("first", "second\nline ü"):
        store.note("a", text)
        assert store.get("a").note == text
    store.note("a", "")
    assert store.get("a").note == ""


def test_of_no_run_both_are_usage_errors(store: Store) -> None:
    for call in (lambda: store.tag("a", ["x"]), lambda: store.note("a", "x")):
        with pytest.raises(UsageError, match="There is no run 'a'"):
            call()


def test_they_survive_what_the_backend_says_of_the_run(store: Store, make_run: MakeRun) -> None:
    run = make_run("a", backend="vertex", backend_ref="projects/p/a", state=RunState.RUNNING)
    store.put(run)
    store.tag("a", ["good"])
    store.note("a", "look here")

    for read in (ReadLevel.LISTED, ReadLevel.EVERYTHING):
        store.put(replace(run, state=RunState.SUCCEEDED, labels={"k": "v"}), read_level=read)

    run = store.get("a")
    assert (run.state, run.tags, run.note) == (RunState.SUCCEEDED, ("good",), "look here")


def test_they_go_with_the_run(store: Store, make_run: MakeRun) -> None:
    store.add_run(make_run("a", tags=("good",), note="n"))
    store.forget("a")
    store.add_run(make_run("a"))

    assert (store.get("a").tags, store.get("a").note) == ((), "")
    assert store.values("tags") == []


@pytest.mark.parametrize(
    ("run_filter", "run_ids"),
    [
        (RunFilter(tags=["good"]), "ab"),
        (RunFilter(tags=["good", "new"]), "b"),
        (RunFilter(tags=["goo"]), ""),
        (RunFilter(text="GÜT"), "a"),
        (RunFilter(text="new"), "bc"),
        (RunFilter(text="spri"), "c"),
        (RunFilter(text="%"), ""),
        (RunFilter(until="2026-01-02T00:00:00.000Z"), "a"),
        (RunFilter(since="2026-01-02T00:00:00.000Z", until="2026-01-03T00:00:00.000Z"), "b"),
        (RunFilter(version="sha256:00"), "ac"),
        (RunFilter(version="ff"), "b"),
        (RunFilter(version="ff", where="tags = new"), "b"),
        (RunFilter(ids=["c", "a", "none", *map(str, range(50_000))]), "ac"),
        (RunFilter(ids=["a", "b", "') OR 1 --"], tags=["new"]), "b"),
    ],
)
def test_filters_beside_expressions(
    store: Store, make_run: MakeRun, run_filter: RunFilter, run_ids: str
) -> None:
    store.add_run(
        make_run("a", created_at="2026-01-01T00:00:00.000Z", tags=("good",), note="ist gut, Güte")
    )
    store.add_run(
        make_run(
            "b",
            created_at="2026-01-02T00:00:00.000Z",
            tags=("good", "new"),
            version="sha256:ff" + "0" * 62,
        )
    )
    store.add_run(
        make_run("c", created_at="2026-01-03T00:00:00.000Z", name="renewed", experiment="spring")
    )

    assert "".join(run.run_id for run in reversed(store.page(run_filter))) == run_ids
    assert store.count(run_filter) == len(run_ids)


def test_a_limit_beyond_all_numbers_of_the_database_is_not_a_limit(
    store: Store, make_run: MakeRun
) -> None:
    store.add_run(make_run("a"))

    for run_filter in (RunFilter(), RunFilter(where="name != x")):
        assert [run.run_id for run in store.page(run_filter, limit=10**30)] == ["a"]
        assert store.page(run_filter, limit=10**30, offset=10**30) == []


def test_choices_are_the_values_of_matching_runs(store: Store, make_run: MakeRun) -> None:
    store.add_run(make_run("a", experiment="x", tags=("t1",), labels={"team": "g"}))
    store.add_run(make_run("b", experiment="y", tags=("t1", "t2"), env="dev"))

    assert store.values("experiment") == ["x", "y"]
    assert store.values("tags") == ["t1", "t2"]
    assert store.values("labels.team") == ["g"]
    assert store.values("labels.team", RunFilter(env="dev")) == []
    assert store.values("tags", RunFilter(env="local")) == ["t1"]
    with pytest.raises(UsageError, match="The values of 'created_at' cannot be listed"):
        store.values("created_at")
