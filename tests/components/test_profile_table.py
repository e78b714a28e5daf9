from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp import dsl

from kfgcp_components import profile_table
from kfgcp_components.data.profile_table.logic import (
    ColumnProfile,
    profile_column,
    profile_file,
    read_profile,
    write_profile,
)
from kfgcp_components.data.profile_table.report import write_report
from kfgcp_components.table_file import TableFile


def column(values: object, type_: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, type=type_)])


def profile_numbers(values: object) -> ColumnProfile:
    return profile_column(column(values))


def test_numbers_are_described_as_numpy_and_pandas_describe_them() -> None:
    values = np.random.default_rng(3).normal(5, 2, 5000).round(2)
    profile = profile_numbers(values)
    numbers = profile.numbers
    assert numbers is not None
    assert profile.distinct == pd.Series(values).nunique()
    assert numbers.mean == pytest.approx(sum(values.tolist()) / 5000, abs=1e-9)
    assert numbers.std == pytest.approx(pd.Series(values).std(), abs=1e-9)
    for share, value in numbers.quantiles.items():
        assert value == pytest.approx(np.quantile(values, float(share)), abs=1e-9)
    counts, edges = np.histogram(values, bins=20)
    assert numbers.counts == counts.tolist()
    assert numbers.edges == pytest.approx(edges.tolist(), abs=1e-9)
    for point, count in zip(numbers.points, numbers.counts_up_to, strict=True):
        assert count == int((values <= point).sum())
    assert numbers.counts_up_to[-1] == 5000


def test_a_distribution_has_about_a_thousand_points_at_most() -> None:
    few = profile_numbers([3.0, 1.0, 3.0]).numbers
    many = profile_numbers(np.arange(5000.0)).numbers
    assert few is not None
    assert many is not None
    assert (few.points, few.counts_up_to, few.complete) == ([1.0, 3.0], [1, 3], True)
    assert (len(many.points), many.complete) == (1001, False)
    assert (many.points[0], many.points[-1]) == (0.0, 4999.0)


def test_nan_is_missing_and_infinity_is_counted_apart() -> None:
    profile = profile_numbers([1.0, float("nan"), None, float("inf"), -float("inf"), 2.0])
    assert (profile.count, profile.missing, profile.infinite) == (4, 2, 2)
    assert profile.distinct == 4
    assert profile.numbers is not None
    assert profile.numbers.mean == 1.5
    only_infinite = profile_numbers([float("inf")])
    assert (only_infinite.kind, only_infinite.numbers) == ("numeric", None)


def test_text_has_its_most_frequent_values_first_and_then_by_name() -> None:
    profile = profile_column(column(["b", "a", "c", "c", None]))
    assert profile.kind == "text"
    assert list(profile.categories.items()) == [("c", 2), ("a", 1), ("b", 1)]
    assert (profile.count, profile.missing, profile.distinct, profile.other) == (4, 1, 3, 0)
    encoded = column(["b", "a", "c", "c", None]).dictionary_encode()
    assert profile_column(encoded) == profile


def test_a_million_categories_keep_a_thousand_and_count_the_others() -> None:
    texts = pa.array(np.arange(1_000_000)).cast(pa.string())
    profile = profile_column(pa.chunked_array([texts, pa.array(["7", "7"])]))
    assert profile.distinct == 1_000_000
    assert len(profile.categories) == 1000
    assert list(profile.categories.items())[:3] == [("7", 3), ("0", 1), ("1", 1)]
    assert profile.other == 1_000_002 - 1002


def test_booleans_times_and_lists_have_their_own_kinds() -> None:
    assert profile_column(column([True, None, True])).categories == {"true": 2}
    day = datetime.date(2026, 3, 1)
    dates = profile_column(column([day, day + datetime.timedelta(days=2)]))
    assert dates.kind == "datetime"
    assert dates.numbers is not None
    # The Unix time of 2026-03-02T00:00:00Z, by `date -u -d 2026-03-02 +%s`.
    assert dates.numbers.mean == 1772409600
    zoned = column([datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)], pa.timestamp("us", "UTC"))
    zoned_profile = profile_column(zoned)
    assert zoned_profile.numbers is not None
    assert zoned_profile.numbers.quantiles["0"] == 1772409600
    lists = profile_column(column([[1], [2, 3], None]))
    assert (lists.kind, lists.count, lists.missing, lists.distinct) == ("other", 2, 1, None)


@pytest.mark.parametrize("type_", [pa.float64(), pa.string(), pa.null(), pa.bool_(), pa.date32()])
def test_a_column_without_values_is_empty(type_: pa.DataType) -> None:
    assert profile_column(column([None, None], type_)) == ColumnProfile("empty", 0, 2)


def test_a_profile_survives_json_and_has_only_standard_numbers(tmp_path: Path) -> None:
    pq.write_table(
        pa.table(
            {
                "huge": [1e308, -1e308, 1e308],
                "a.b": ["x", "y", None],
                "inf": [float("inf"), float("nan"), 1.0],
                "a": [{"b": 1}] * 3,
            }
        ),
        tmp_path / "table",
    )
    with TableFile(tmp_path / "table") as file:
        profile = profile_file(file)
    write_profile(profile, tmp_path / "profile")
    assert read_profile(tmp_path / "profile") == profile
    assert profile.columns["a.b"].categories == {"x": 1, "y": 1}
    assert profile.columns["a"].kind == "other"
    assert profile.columns["huge"].numbers is not None
    assert profile.columns["huge"].numbers.std is None
    json.loads((tmp_path / "profile").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "is not a profile: "),
        (b"{}", "is not a profile of the format kfgcp-profile-1; give the output `profile`"),
        (b'{"format": "kfgcp-profile-1", "rows": 3}', "is a damaged profile: 'columns'"),
        (
            b'{"format": "kfgcp-profile-1", "rows": 3, "columns": {"a": {"numbers": {"x": 1}}}}',
            "is a damaged profile: ",
        ),
    ],
)
def test_another_file_is_not_read_as_a_profile(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "profile").write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_profile(tmp_path / "profile")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({}), "table has no columns"),
        (pa.table({"a": pa.array([], pa.int64())}), "table has 1 columns but no rows"),
        (
            pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
            "table has duplicated column names: a;",
        ),
    ],
)
def test_a_table_without_content_is_refused(table: pa.Table, message: str, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "in")
    with pytest.raises(ValueError, match=message):
        TableFile(tmp_path / "in", "table")


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"^table is not readable as Parquet: "):
        TableFile(tmp_path / "in", "table")


def test_the_page_shows_hostile_names_and_values_as_text(tmp_path: Path) -> None:
    attack = "<script>alert('x')</script>\"&"
    pq.write_table(pa.table({attack: [attack, attack], "day": ["a", "\x00\nb"]}), tmp_path / "in")
    with TableFile(tmp_path / "in") as file:
        write_report(profile_file(file), tmp_path / "page")
    page = (tmp_path / "page").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;" in page
    assert "default-src 'none'" in page


def test_the_component_writes_the_profile_and_the_page(tmp_path: Path) -> None:
    times = pa.array([0, 10**15], pa.timestamp("s"))
    pq.write_table(pa.table({"a": [1, 2], "when": times}), tmp_path / "in")
    profile = dsl.Artifact(name="profile", uri=str(tmp_path / "profile"))
    report = dsl.HTML(name="report", uri=str(tmp_path / "report"))
    source = dsl.Dataset(name="table", uri=str(tmp_path / "in"))
    profile_table.python_func(table=source, profile=profile, report=report)
    assert profile.metadata == {"format": "kfgcp-profile-1", "rows": 2, "columns": 2}
    assert set(read_profile(profile.path).columns) == {"a", "when"}
    assert "1970-01-01 00:00:00+00:00 to 1e+15 s" in Path(report.path).read_text()
