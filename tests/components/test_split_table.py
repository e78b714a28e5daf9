from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kfp import dsl
from sklearn.model_selection import train_test_split

from kfgcp_components import split_table
from kfgcp_components.data.split_table.logic import split
from kfgcp_components.tables import read_parquet, write_parquet


def make_table(counts: dict[object, int]) -> pd.DataFrame:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return pd.DataFrame({"row": range(len(labels)), "label": labels})


def test_the_rows_are_those_scikit_learn_chooses_for_the_seed() -> None:
    frame = make_table({"a": 60, "b": 40})
    parts = split(frame, "label", test_fraction=0.25, seed=3)
    _, expected = train_test_split(frame, test_size=0.25, random_state=3, stratify=frame["label"])
    assert parts.test["row"].tolist() == sorted(expected["row"])
    assert sorted([*parts.train["row"], *parts.test["row"]]) == list(range(100))
    assert parts.test["label"].value_counts().to_dict() == {"a": 15, "b": 10}
    assert parts.facts["stratified"] is True


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    frame = make_table({"a": 60, "b": 40})
    first, again, other = (
        split(frame, "label", seed=seed).test["row"].tolist() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_rows_without_a_target_are_dropped_and_counted() -> None:
    frame = make_table({"a": 6, None: 3, "b": 6})
    parts = split(frame, "label")
    assert len(parts.train) + len(parts.test) == 12
    assert parts.facts["rows_without_target"] == 3


def test_the_only_row_of_a_class_goes_to_training_and_the_rest_stays_stratified() -> None:
    frame = make_table({"a": 40, "b": 20, "lonely": 1})
    for seed in range(5):
        parts = split(frame, "label", test_fraction=0.3, seed=seed)
        assert "lonely" in set(parts.train["label"])
        assert len(parts.test) == 19
        assert parts.test["label"].value_counts()["a"] in (12, 13)
        assert parts.facts["stratified"] is True


@pytest.mark.parametrize("counts", [{"a": 2, "b": 2, "c": 2}, dict.fromkeys(range(8), 1)])
def test_sets_too_small_for_every_class_are_split_plainly_and_say_so(
    counts: dict[object, int],
) -> None:
    parts = split(make_table(counts), "label", test_fraction=0.2)
    assert parts.facts["stratified"] is False
    assert len(parts.test) == 2


def test_stratifying_can_be_turned_off() -> None:
    frame = make_table({"a": 60, "b": 40})
    parts = split(frame, "label", stratify=False, seed=3)
    _, expected = train_test_split(frame, test_size=0.25, random_state=3)
    assert parts.test["row"].tolist() == sorted(expected["row"])
    assert parts.facts["stratified"] is False


def test_two_rows_make_one_of_each() -> None:
    parts = split(make_table({"a": 1, "b": 1}), "label", test_fraction=0.9)
    assert (len(parts.train), len(parts.test)) == (1, 1)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="test_fraction must be between 0 and 1"):
        split(make_table({"a": 5}), "label", test_fraction=fraction)


def test_an_unknown_target_is_answered_with_the_closest_column() -> None:
    with pytest.raises(
        ValueError, match=r"no target column 'Lable'.* Did you mean 'label'\? Columns: row, label"
    ):
        split(make_table({"a": 5}), "Lable")


def test_an_unknown_target_of_a_wide_table_lists_only_some_columns() -> None:
    wide = pd.DataFrame({f"c{i}": [1, 2] for i in range(50)})
    with pytest.raises(ValueError, match=r"Columns: c0, c1, .*, c19 and 30 more$"):
        split(wide, "zzz")


def test_a_single_row_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="1 of 2 rows have a value in 'label', 2 are needed"):
        split(make_table({"a": 1, None: 1}), "label")


def test_the_component_writes_both_sets_and_how_they_were_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(make_table({"a": 6, "b": 6, None: 1}), tmp_path / "in")
    train, test = (dsl.Dataset(name=name, uri=str(tmp_path / name)) for name in ("train", "test"))
    source = dsl.Dataset(name="table", uri=str(tmp_path / "in"))
    split_table.python_func(
        table=source, target="label", train=train, test=test, test_fraction=0.25, seed=1
    )
    assert len(read_parquet(train.path)) == 9
    assert len(read_parquet(test.path)) == 3
    assert test.metadata == {
        "format": "parquet",
        "rows": 3,
        "columns": 2,
        "kinds": {"numeric": 1, "text": 1},
        "part": "test",
        "target": "label",
        "test_fraction": 0.25,
        "seed": 1,
        "split_by": "random",
        "stratified": True,
        "rows_without_target": 1,
    }
    assert train.metadata["part"] == "train"
    assert json.loads(capsys.readouterr().out) == {
        "severity": "INFO",
        "message": "9 rows to train, 3 rows to test; 1 rows have no target, and were left out",
        "target": "label",
        "test_fraction": 0.25,
        "seed": 1,
        "rows_without_target": 1,
        "split_by": "random",
        "stratified": True,
    }


def make_times(days: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"day": days, "row": range(len(days)), "label": ["a", "b"] * 5})


def test_the_newest_rows_are_the_test_set_in_their_old_order() -> None:
    days = [f"2026-03-{day:02}" for day in (5, 1, 9, 2, 8, 3, 7, 4, 10, 6)]
    parts = split(make_times(days), "label", test_fraction=0.3, time_column="day")
    assert parts.test["row"].tolist() == [2, 4, 8]
    assert parts.train["row"].tolist() == [0, 1, 3, 5, 6, 7, 9]
    assert parts.facts["split_by"] == "time"
    assert parts.facts["test_begins_at"] == "2026-03-08 00:00:00+00:00"


def test_rows_of_the_same_time_stay_together() -> None:
    parts = split(make_times([1, 1, 2, 2, 2, 2, 2, 2, 3, 3]), "label", time_column="day")
    assert parts.test["day"].tolist() == [2, 2, 2, 2, 2, 2, 3, 3]
    parts = split(make_times([1] * 7 + [2] * 3), "label", test_fraction=0.5, time_column="day")
    assert parts.test["day"].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="all 10 rows have the same value in 'day'"):
        split(make_times([1] * 10), "label", time_column="day")


def test_times_of_different_zones_are_compared_as_instants() -> None:
    days: list[object] = ["2026-03-01T00:00:00Z"] * 8
    days += ["2026-03-01T01:00:00+02:00", "2026-03-01T00:30:00Z"]
    parts = split(make_times(days), "label", test_fraction=0.1, time_column="day")
    assert parts.test["row"].tolist() == [9]


def test_all_rows_of_a_group_are_in_one_set() -> None:
    frame = pd.DataFrame({"who": [i % 20 for i in range(200)], "label": ["a", "b"] * 100})
    chosen = set()
    for seed in range(5):
        parts = split(frame, "label", test_fraction=0.2, seed=seed, group_column="who")
        assert set(parts.train["who"]).isdisjoint(parts.test["who"])
        assert len(parts.test) == 40
        chosen.add(frozenset(parts.test["who"]))
        shuffled = frame.sample(frac=1, random_state=seed)
        again = split(shuffled, "label", test_fraction=0.2, seed=seed, group_column="who")
        assert set(again.test["who"]) == set(parts.test["who"])
    assert len(chosen) == 5


def test_a_group_that_is_too_large_goes_to_training() -> None:
    frame = pd.DataFrame({"who": ["big"] * 15 + ["x", "y", "y"], "label": ["a", "b"] * 9})
    for seed in range(5):
        parts = split(frame, "label", test_fraction=0.2, seed=seed, group_column="who")
        assert set(parts.test["who"]) == {"x", "y"}
    two = pd.DataFrame({"who": ["x"] * 7 + ["y"] * 3, "label": ["a", "b"] * 5})
    assert set(split(two, "label", test_fraction=0.1, group_column="who").test["who"]) == {"y"}
    with pytest.raises(ValueError, match="all 7 rows have the same value in 'who'"):
        split(two[two["who"] == "x"], "label", group_column="who")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"time_column": "day", "group_column": "row"},
            "time_column 'day' and group_column 'row' exclude each other; give one of them",
        ),
        (
            {"time_column": "day", "stratify": True},
            "stratify works only for a random split; leave it out, or leave out time_column",
        ),
        (
            {"group_column": "label"},
            "group_column and target are the same column 'label'; give another group_column",
        ),
        ({"group_column": "Day"}, "no group column 'Day' in the table. Did you mean 'day'?"),
        ({"time_column": "day"}, "1 of 10 rows have no value in the time column 'day'"),
        ({"group_column": "day"}, "1 of 10 rows have no value in the group column 'day'"),
        ({"time_column": "word"}, "time column 'word' has a value that is not a time: "),
        ({"time_column": "flag"}, "time column 'flag' has only true and false"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    frame = make_times([1, 2, None, 4, 5, 6, 7, 8, 9, 10])
    frame["word"] = "soon"
    frame["flag"] = True
    with pytest.raises(ValueError) as error:
        split(frame, "label", **options)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
