from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp import dsl
from scipy import stats
from scipy.spatial import distance

from kfgcp_components import detect_drift
from kfgcp_components.data.detect_drift.logic import (
    ColumnDrift,
    DriftReport,
    Thresholds,
    detect,
    write_details,
)
from kfgcp_components.data.detect_drift.measures import (
    chi_squared,
    jensen_shannon_distance,
    kolmogorov_smirnov,
    kolmogorov_smirnov_of_points,
    population_stability_index,
)
from kfgcp_components.data.detect_drift.report import write_report
from kfgcp_components.data.profile_table.logic import profile_file, write_profile
from kfgcp_components.table_file import TableFile

EXACT = 1e-9
COUNTS = [
    ([10.0, 20.0, 30.0], [30.0, 20.0, 10.0]),
    ([5.0, 0.0, 7.0, 0.0], [3.0, 4.0, 0.0, 0.0]),
    ([1.0, 999.0], [400.0, 600.0]),
]


def compare(
    tmp_path: Path, reference: dict[str, Any], current: dict[str, Any], **options: Any
) -> DriftReport:
    """Compare two tables, first as tables and then with the profile of the reference."""
    pq.write_table(pa.table(reference), tmp_path / "reference")
    pq.write_table(pa.table(current), tmp_path / "current")
    columns = options.pop("columns", ())
    return detect(tmp_path / "current", tmp_path / "reference", Thresholds(**options), columns)


def compare_with_profile(tmp_path: Path) -> DriftReport:
    with TableFile(tmp_path / "reference") as file:
        write_profile(profile_file(file), tmp_path / "profile")
    return detect(tmp_path / "current", tmp_path / "profile", Thresholds())


@pytest.mark.parametrize(("reference", "current"), COUNTS)
def test_the_stability_index_is_its_formula(reference: list[float], current: list[float]) -> None:
    expected = 0.0
    for old, new in zip(reference, current, strict=True):
        p = max(new / sum(current), 0.0001)
        q = max(old / sum(reference), 0.0001)
        expected += (p - q) * math.log(p / q)
    index = population_stability_index(np.array(reference), np.array(current))
    assert index == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize(("reference", "current"), COUNTS)
def test_the_jensen_shannon_distance_is_the_one_of_scipy(
    reference: list[float], current: list[float]
) -> None:
    result = jensen_shannon_distance(np.array(reference), np.array(current))
    assert result == pytest.approx(distance.jensenshannon(reference, current, base=2), abs=EXACT)


@pytest.mark.parametrize(("reference", "current"), COUNTS)
def test_chi_squared_is_the_one_of_scipy(reference: list[float], current: list[float]) -> None:
    result = chi_squared(np.array(reference), np.array(current))
    pairs = [pair for pair in zip(reference, current, strict=True) if sum(pair)]
    expected = stats.chi2_contingency(np.array(pairs).T, correction=False)
    assert result.statistic == pytest.approx(expected.statistic, abs=EXACT)
    assert result.p_value == pytest.approx(expected.pvalue, abs=EXACT)


@pytest.mark.parametrize("digits", [0, 1, 8])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.1, 5.0])
def test_kolmogorov_smirnov_is_the_one_of_scipy(digits: int, shift: float) -> None:
    random = np.random.default_rng(11)
    old = np.sort(random.normal(0, 1, 700).round(digits))
    new = np.sort(random.normal(shift, 1.2, 450).round(digits))
    result = kolmogorov_smirnov(old, new)
    assert result.statistic == pytest.approx(stats.ks_2samp(old, new).statistic, abs=EXACT)
    # The limit distribution by its series: 2 * sum of (-1)^(k-1) * exp(-2 k² x²), for x not near 0.
    x = math.sqrt(700 * 450 / 1150) * result.statistic
    series = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 200))
    if x > 0.3:
        assert result.p_value == pytest.approx(series, abs=EXACT)
    # All values of the reference as points give the same statistic.
    points, counts = np.unique(old, return_counts=True)
    counts_up_to = np.cumsum(counts).astype(float)
    same = kolmogorov_smirnov_of_points(points, counts_up_to, new, complete=True)
    assert same.statistic == pytest.approx(result.statistic, abs=EXACT)
    # Without ties, every fifth point is 5 values away from the next one.
    if digits == 8:
        kept = np.append(0, np.arange(4, points.size, 5))
        some = kolmogorov_smirnov_of_points(points[kept], counts_up_to[kept], new, complete=False)
        assert result.statistic - 5 / 700 <= some.statistic <= result.statistic + EXACT


def test_numbers_are_binned_by_the_tenths_of_the_reference(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    old, new = random.normal(0, 1, 5000), random.normal(0.3, 1.1, 4000)
    column = compare(tmp_path, {"x": old}, {"x": new}).columns["x"]
    edges = np.concatenate(
        ([-np.inf], np.quantile(old, np.arange(1, 10) / 10, method="inverted_cdf"), [np.inf])
    )
    # Each bin includes its upper limit, so compare the negative values with numpy.
    old_counts = np.histogram(-old, -edges[::-1])[0][::-1]
    new_counts = np.histogram(-new, -edges[::-1])[0][::-1]
    assert [round(share * 5000) for share in column.reference_shares[:-1]] == [500] * 10
    assert column.shares[:-1] == pytest.approx((new_counts / 4000).tolist(), abs=EXACT)
    expected = population_stability_index(old_counts.astype(float), new_counts.astype(float))
    assert column.psi == pytest.approx(expected, abs=EXACT)
    assert column.ks == pytest.approx(stats.ks_2samp(old, new).statistic, abs=EXACT)


@pytest.mark.parametrize("kind", ["numbers", "text"])
def test_few_values_are_a_bin_each(kind: str, tmp_path: Path) -> None:
    old: list[Any] = [1, 2, 2, 3, None]
    new: list[Any] = [2, 2, 4, 4, None, None]
    if kind == "text":
        old = [value and str(value) for value in old]
        new = [value and str(value) for value in new]
    column = compare(tmp_path, {"x": old}, {"x": new}).columns["x"]
    pairs = sorted(zip(column.reference_shares, column.shares, strict=True))
    assert [pair[0] for pair in pairs] == pytest.approx([0, 0.2, 0.2, 0.2, 0.4], abs=EXACT)
    assert [pair[1] for pair in pairs] == pytest.approx([2 / 6, 0, 0, 2 / 6, 2 / 6], abs=EXACT)
    assert column.missing == pytest.approx((0.2, 2 / 6), abs=EXACT)


def test_equal_tables_have_not_drifted_and_a_profile_says_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    columns = {
        "x": random.normal(size=3000),
        "count": random.integers(0, 5, 3000),
        "word": random.choice(["a", "b", "c"], 3000),
        "flag": random.random(3000) < 0.5,
        "when": pa.array(random.integers(0, 10**9, 3000), pa.timestamp("s")),
        "none": pa.nulls(3000),
    }
    for report in (compare(tmp_path, columns, columns), compare_with_profile(tmp_path)):
        assert report.drifted is False
        for column in report.columns.values():
            assert (column.psi, column.js) == (0.0, 0.0)
            assert column.ks in (0.0, None)


def test_drift_is_seen_in_each_kind_of_column(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    size = 3000
    old = {
        "x": random.normal(size=size),
        "constant": np.ones(size),
        "word": random.choice(["a", "b"], size),
        "flag": random.random(size) < 0.5,
        "when": pa.array(random.integers(0, 10**9, size), pa.timestamp("s")),
        "filled": ["a"] * size,
        "emptied": random.normal(size=size),
        "kind": np.arange(size),
        "gone": np.arange(size),
        "same": np.arange(size),
    }
    new = {
        "x": random.normal(0.5, size=size),
        "constant": np.full(size, 2.0),
        "word": random.choice(["a", "new"], size),
        "flag": random.random(size) < 0.8,
        "when": pa.array(random.integers(10**9, 2 * 10**9, size), pa.timestamp("s")),
        "filled": pa.nulls(size),
        "emptied": pa.nulls(size, pa.float64()),
        "kind": [str(number) for number in range(size)],
        "same": np.arange(size),
        "extra": np.arange(size),
    }
    for report in (compare(tmp_path, old, new), compare_with_profile(tmp_path)):
        assert report.drifted is True
        assert report.drifted_columns == [name for name in old if name != "same"]
        assert report.new_columns == ["extra"]
        assert report.columns["kind"].reason == "the kind changed from numeric to text"
        assert report.columns["gone"].reason == "the table does not have this column"
        assert "PSI" in report.columns["emptied"].reason
    reverse = compare(tmp_path, {"x": pa.nulls(size)}, {"x": old["x"]})
    assert reverse.drifted_columns == ["x"]


def test_small_tables_without_drift_rarely_cause_a_false_alarm(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    alarms = Counter[bool]()
    for _ in range(100):
        tables = []
        for _ in range(2):
            columns = {f"x{i}": random.normal(size=60) for i in range(5)}
            tables.append(columns)
        alarms[compare(tmp_path, *tables).drifted] += 1
        report = compare(tmp_path, *tables, alpha=1.0)
        assert report.drifted, "without the tests, chance alone is above the thresholds"
    # With alpha 0.05, more than 12 of 100 have a probability below 0.002.
    assert alarms[True] <= 12


def test_chance_is_named_as_the_reason(tmp_path: Path) -> None:
    report = compare(tmp_path, {"x": [1, 2, 3, 4]}, {"x": [3, 4, 4, 4]})
    assert not report.drifted
    assert report.columns["x"].reason.endswith(", but this can be chance")


def test_some_columns_may_drift_and_only_chosen_ones_are_compared(tmp_path: Path) -> None:
    old = {"a": np.arange(500), "b": np.arange(500), "c": np.arange(500)}
    new = {"a": np.arange(500) + 400, "b": np.arange(500) + 400, "c": np.arange(500)}
    assert compare(tmp_path, old, new, max_columns=2).drifted is False
    assert compare(tmp_path, old, new, max_columns=1).drifted is True
    chosen = compare(tmp_path, old, new, columns=["c"])
    assert (chosen.drifted, list(chosen.columns)) == (False, ["c"])
    with pytest.raises(ValueError, match=r"no column 'd' in the reference\. Columns: a, b, c"):
        compare(tmp_path, old, new, columns=["d"])


def test_a_million_categories_are_compared(tmp_path: Path) -> None:
    ids = pa.array(np.arange(1_000_000)).cast(pa.string())
    others = pa.array(np.arange(1_000_000, 2_000_000)).cast(pa.string())
    assert compare(tmp_path, {"id": ids}, {"id": others}).drifted is False
    mixed = pa.concat_arrays([ids.slice(0, 500_000), pa.array(["same"] * 500_000)])
    assert compare(tmp_path, {"id": mixed}, {"id": others}).drifted is True


def test_lists_are_not_compared(tmp_path: Path) -> None:
    report = compare(tmp_path, {"x": [[1], [2]]}, {"x": [[3], [4]]})
    assert report.columns["x"] == ColumnDrift(
        "other", reason="values of this type are not compared"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"psi": 0.0}, "psi_threshold must be more than 0, such as 0.2, not 0.0"),
        ({"ks": float("nan")}, "ks_threshold must be more than 0"),
        ({"alpha": 0.0}, "alpha must be above 0 and at most 1"),
        ({"max_columns": -1}, "max_drifted_columns must be at least 0, not -1"),
    ],
)
def test_thresholds_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Thresholds(**options)


def test_tables_without_rows_and_other_files_are_refused(tmp_path: Path) -> None:
    empty = {"x": pa.array([], pa.int64())}
    with pytest.raises(ValueError, match=r"^table has 1 columns but no rows$"):
        compare(tmp_path, {"x": [1]}, empty)
    with pytest.raises(ValueError, match=r"^reference has 1 columns but no rows$"):
        compare(tmp_path, empty, {"x": [1]})
    (tmp_path / "reference").write_text("x\n1\n")
    with pytest.raises(ValueError, match="reference is not a profile"):
        detect(tmp_path / "current", tmp_path / "reference", Thresholds())


def test_the_page_shows_hostile_names_as_text_and_json_is_standard(tmp_path: Path) -> None:
    attack = "<img src=x onerror=alert(1)>"
    report = compare(tmp_path, {attack: [1.0, math.inf]}, {"y": [1, 2], attack: [math.nan, 2.0]})
    write_report(report, tmp_path / "page")
    write_details(report, tmp_path / "details")
    page = (tmp_path / "page").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    details = json.loads((tmp_path / "details").read_text(), parse_constant=pytest.fail)
    assert details["columns"][attack]["missing"] == [0.5, 0.5]


def test_the_component_gives_the_verdict_and_metrics(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": np.arange(200), "b": np.arange(200)}), tmp_path / "old")
    pq.write_table(pa.table({"a": np.arange(200) + 500, "b": np.arange(200)}), tmp_path / "new")
    outputs = {
        "metrics": dsl.Metrics(name="metrics", uri=str(tmp_path / "metrics")),
        "details": dsl.Artifact(name="details", uri=str(tmp_path / "details")),
        "report": dsl.HTML(name="report", uri=str(tmp_path / "report")),
    }
    result = detect_drift.python_func(
        table=dsl.Dataset(name="table", uri=str(tmp_path / "new")),
        reference=dsl.Artifact(name="reference", uri=str(tmp_path / "old")),
        **outputs,
    )
    assert result == (True,)
    metrics = outputs["metrics"].metadata
    assert (metrics["drifted_columns"], metrics["compared_columns"]) == (1, 2)
    assert metrics["max_ks"] == 1.0
    # All new values are in the last of ten bins.
    expected = distance.jensenshannon([0.1] * 10, [0] * 9 + [1], base=2)
    assert metrics["max_js"] == pytest.approx(expected, abs=EXACT)
    assert "The table has drifted: 1 of 2 columns" in (tmp_path / "report").read_text()
