from __future__ import annotations

from pathlib import Path

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


def test_the_component_writes_both_sets_and_how_they_were_made(tmp_path: Path) -> None:
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
        "stratified": True,
        "rows_without_target": 1,
    }
    assert train.metadata["part"] == "train"
