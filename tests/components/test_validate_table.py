from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp import dsl

from kfgcp_components import validate_table
from kfgcp_components.data.validate_table.logic import (
    ValidationReport,
    summarize,
    validate,
    write_violations,
)
from kfgcp_components.data.validate_table.report import write_report
from kfgcp_components.data.validate_table.schema import choose_schema, infer_schema, parse_schema
from kfgcp_components.table_file import TableFile


def check(tmp_path: Path, columns: dict[str, Any], schema: dict[str, Any]) -> ValidationReport:
    """Check a table. The schema stands for the JSON of a DataFrameSchema."""
    pq.write_table(pa.table(columns), tmp_path / "table")
    with TableFile(tmp_path / "table", "table") as file:
        return validate(file, parse_schema({"schema_type": "dataframe", **schema}))


def failures(report: ValidationReport) -> dict[tuple[str, str], int]:
    return {(violation.column, violation.check): violation.count for violation in report.violations}


def test_all_violations_are_reported_with_their_numbers_and_first_rows(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        {
            "age": [30, -1, 200, None, -1],
            "color": ["red", "blue", "green", "red", None],
            "extra": [1, 2, 3, 4, 5],
            "id": [1, 2, 2, 3, 4],
        },
        {
            "columns": {
                "age": {"dtype": "int64", "in_range": {"min_value": 0, "max_value": 150}},
                "color": {"dtype": "string[pyarrow]", "isin": ["red", "blue"]},
                "id": {"dtype": "int64", "unique": True},
                "gone": {"dtype": "int64"},
                "optional": {"dtype": "int64", "required": False},
            },
            "strict": True,
        },
    )
    assert failures(report) == {
        ("", "column_in_schema"): 1,
        ("", "column_in_dataframe"): 1,
        ("age", "not_nullable"): 1,
        ("age", "in_range(0, 150)"): 3,
        ("color", "not_nullable"): 1,
        ("color", "isin(['red', 'blue'])"): 1,
        ("id", "field_uniqueness"): 2,
    }
    assert report.valid is False
    texts = [str(violation) for violation in report.violations]
    assert "column 'age': in_range(0, 150) fails in 3 rows (row 1: -1, row 2: 200, row 4: -1)" in (
        texts
    )
    assert "column_in_dataframe fails ('gone')" in texts
    assert "\n" not in summarize(report)


@pytest.mark.parametrize("schema_type", ["int64", "Int64"])
@pytest.mark.parametrize("values", [[1, 2], [1, None]])
def test_integers_fit_both_types_of_pandas(
    schema_type: str, values: list[Any], tmp_path: Path
) -> None:
    columns = {"a": {"dtype": schema_type, "nullable": True, "greater_than": 0}}
    assert check(tmp_path, {"a": values}, {"columns": columns}).valid
    assert not check(tmp_path, {"a": ["1", None]}, {"columns": columns}).valid
    assert not check(tmp_path, {"a": [-1, None]}, {"columns": columns}).valid


@pytest.mark.parametrize(
    "schema_type", ["object", "str", "string", "string[python]", "string[pyarrow]"]
)
def test_text_fits_each_type_of_text(schema_type: str, tmp_path: Path) -> None:
    columns = {"a": {"dtype": schema_type, "nullable": True}}
    text = pa.array(["x", None, "x"])
    assert check(tmp_path, {"a": text}, {"columns": columns}).valid
    for same_text in (
        text.dictionary_encode(),
        text.cast(pa.large_string()),
        text.cast(pa.string_view()),
        text.slice(0, 1),
        pa.nulls(3),
    ):
        assert check(tmp_path, {"a": same_text}, {"columns": columns}).valid
    assert not check(tmp_path, {"a": [1, 2, 3]}, {"columns": columns}).valid


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_fit_each_unit(unit: str, tmp_path: Path) -> None:
    columns = {"a": {"dtype": f"datetime64[{unit}]"}}
    exact = pa.array([datetime.datetime(2026, 3, 1, 12)], pa.timestamp("us"))
    assert check(tmp_path, {"a": exact}, {"columns": columns}).valid
    assert check(tmp_path, {"a": exact.cast(pa.date32())}, {"columns": columns}).valid
    assert not check(tmp_path, {"a": ["2026-03-01"]}, {"columns": columns}).valid


def test_several_columns_together_and_patterns_of_names_are_checked(tmp_path: Path) -> None:
    table = {"a": [1, 1, 2], "b": ["x", "x", "y"], "f_1": [1.0, 2.0, 3.0], "f_2": [0.5, 9.0, 1.0]}
    schema = {
        "columns": {
            "a": {"dtype": "int64"},
            "b": {"dtype": "str"},
            "f_.*": {"dtype": "float64", "regex": True, "less_than": 5.0},
        },
        "unique": ["a", "b"],
        "ordered": True,
    }
    report = check(tmp_path, table, schema)
    assert ("f_2", "less_than(5.0)") in failures(report)
    assert len({row.row for item in report.violations for row in item.examples}) == 2
    assert any("uniq" in check for _, check in failures(report))
    reordered = {name: table[name] for name in ("b", "a", "f_1")}
    assert any("ordered" in name for _, name in failures(check(tmp_path, reordered, schema)))


@pytest.mark.parametrize("unique", [["id", "dayy"], "dayy", [["id"], ["id", "dayy"]]])
def test_an_unknown_column_of_unique_is_refused(tmp_path: Path, unique: object) -> None:
    schema = {"columns": {"id": {"dtype": "int64"}, "day": {"dtype": "str"}}, "unique": unique}

    with pytest.raises(ValueError, match="unique of the schema names the column 'dayy'") as error:
        check(tmp_path, {"id": [1, 1], "day": ["mon", "mon"]}, schema)
    assert "Did you mean 'day'?" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("unique", "count"),
    [
        (["id", "day"], 2),
        (["id", "gone"], 4),
        (["id", "f_9"], 4),
        (["extra"], 0),
        ([["id"], ["id", "day"]], 6),
    ],
)
def test_columns_of_unique_may_be_missing_or_only_in_the_table(
    tmp_path: Path, unique: object, count: int
) -> None:
    columns = {
        "id": {"dtype": "int64"},
        "gone": {"dtype": "int64", "required": False},
        "f_.*": {"dtype": "int64", "regex": True, "required": False},
    }
    # By hand: 4 rows share their id with another row, and 2 rows share id and day.
    table = {"id": [1, 1, 2, 2, 3], "day": ["mon", "mon", "mon", "tue", "wed"], "extra": [*"abcde"]}

    report = check(tmp_path, table, {"columns": columns, "unique": unique})

    assert {violation.check for violation in report.violations} <= {"multiple_fields_uniqueness"}
    counts = [violation.count for violation in report.violations if violation.column != "day"]
    assert sum(counts) == count


def test_a_pattern_that_matches_no_column_is_a_violation_when_it_is_required(
    tmp_path: Path,
) -> None:
    for required, count in ((True, 1), (False, 0)):
        columns = {"f_.*": {"dtype": "int64", "regex": True, "required": required}}
        assert len(check(tmp_path, {"a": [1]}, {"columns": columns}).violations) == count


def test_checks_of_rows_run_although_a_column_of_unique_is_missing(tmp_path: Path) -> None:
    schema = {
        "columns": {"a": {"dtype": "int64"}, "gone": {"dtype": "int64"}},
        "unique": ["gone"],
        "checks": {"greater_than": 0},
    }

    report = check(tmp_path, {"a": [1, -2]}, schema)

    # pandera names the check with its limit.
    assert any("greater_than(0)" in name for _, name in failures(report))


def test_the_violations_are_those_that_pandera_finds_in_the_whole_table(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    columns = {
        "x": random.normal(size=2000),
        "n": random.integers(0, 50, 2000),
        "w": random.choice(["a", "b", "c"], 2000),
    }
    schema = pandera.DataFrameSchema(
        {
            "x": pandera.Column(float, [pandera.Check.lt(1.5), pandera.Check.gt(-2)]),
            "n": pandera.Column(int, pandera.Check.isin([float(i) for i in range(40)])),
            "w": pandera.Column(str, pandera.Check.str_matches("a|b")),
        }
    )
    report = check(tmp_path, columns, json.loads(schema.to_json()))
    with pytest.raises(pandera.errors.SchemaErrors) as errors:
        schema.validate(pa.table(columns).to_pandas(), lazy=True)
    expected = errors.value.failure_cases.groupby("column")["index"].nunique().to_dict()
    counts: dict[str, int] = {}
    for violation in report.violations:
        counts[violation.column] = counts.get(violation.column, 0) + violation.count
    assert counts == expected


def test_an_inferred_schema_fits_its_table_and_not_another(tmp_path: Path) -> None:
    day = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    columns = {
        "n": pa.array([1, 2, None, 4]),
        "small": pa.array([1, 2, 3, 4], pa.int8()),
        "x": [0.5, None, 1.5, 2.0],
        "half": pa.array([0.5, 1.5, 2.5, 3.5], pa.float32()),
        "word": ["a", "b", "a", "b"],
        "name": ["w", "x", "y", "z"],
        "flag": [True, None, False, True],
        "when": pa.array([day] * 4, pa.timestamp("us", "UTC")),
        "date": pa.array([day.date()] * 4),
        "none": pa.nulls(4),
        "list": [[1], [2], [3], [4]],
        "price": pa.array([1, 2, 3, 4], pa.decimal128(9, 2)),
    }
    pq.write_table(pa.table(columns), tmp_path / "table")
    with TableFile(tmp_path / "table") as file:
        content: Any = infer_schema(file)
        assert validate(file, parse_schema(json.loads(json.dumps(content)))).violations == []
    assert content["columns"]["n"] == {"dtype": "int64", "nullable": True}
    assert content["columns"]["word"] == {"dtype": "string[pyarrow]", "isin": ["a", "b"]}
    assert content["columns"]["name"] == {"dtype": "string[pyarrow]"}
    changed = {**columns, "word": ["a", "b", "c", None], "x": ["1", "2", "3", "4"], "new": [1] * 4}
    del changed["flag"]
    assert {column or check for column, check in failures(check(tmp_path, changed, content))} == {
        "column_in_dataframe",
        "column_in_schema",
        "word",
        "x",
    }


def test_a_column_of_text_is_no_number_and_a_check_that_cannot_run_is_a_violation(
    tmp_path: Path,
) -> None:
    columns = {"a": {"dtype": "int64", "greater_than": 0}}
    report = check(tmp_path, {"a": ["1", "two", "3"]}, {"columns": columns})
    names = [name for _, name in failures(report)]
    assert "dtype('int64')" in names
    assert "greater_than(0)" in names


def test_a_million_categories_and_failures_are_counted(tmp_path: Path) -> None:
    ids = pa.array(np.arange(1_000_000)).cast(pa.string())
    columns = {"id": {"dtype": "str", "isin": ["7"]}}
    report = check(tmp_path, {"id": ids}, {"columns": columns})
    assert failures(report) == {("id", "isin(['7'])"): 999_999}
    assert len(report.violations[0].examples) == 5


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "the schema has no columns; give what DataFrameSchema.to_json"),
        ({"columns": {}}, "the schema has no columns"),
        ({"columns": {"a": 3}}, "column 'a' of the schema is not an object"),
        (
            {"columns": {"a": {"dtyp": "int64"}}},
            "column 'a' of the schema has the unknown key 'dtyp'. Did you mean 'dtype'?",
        ),
        ({"columns": {"a": {}}, "strikt": True}, "the schema has the unknown key 'strikt'."),
        ({"columns": {"a": {"dtype": "quux"}}}, "pandera cannot read the schema: "),
        ({"columns": {"a": {}}, "index": [{"dtype": "int64"}]}, "the schema has an index, but"),
    ],
)
def test_a_schema_that_pandera_would_misread_is_refused(
    schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        parse_schema(schema)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_one_source_of_the_schema_is_needed(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "table")
    (tmp_path / "list").write_text("[]")
    (tmp_path / "text").write_text("columns:")
    with TableFile(tmp_path / "table") as file:
        with pytest.raises(ValueError, match="no schema; give one of schema, schema_file"):
            choose_schema(file, {}, None, False)
        with pytest.raises(ValueError, match="more than one source of the schema"):
            choose_schema(file, {"columns": {}}, None, True)
        with pytest.raises(ValueError, match="schema_file is not a JSON object"):
            choose_schema(file, {}, str(tmp_path / "list"), False)
        with pytest.raises(ValueError, match="schema_file is not JSON: "):
            choose_schema(file, {}, str(tmp_path / "text"), False)


def test_the_page_shows_hostile_names_and_values_as_text(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    schema = {"columns": {attack: {"dtype": "str", "isin": ["<b>"]}}}
    report = check(tmp_path, {attack: ["<i>x</i>"]}, schema)
    write_report(report, tmp_path / "page")
    page = (tmp_path / "page").read_text(encoding="utf-8")
    for tag in ("<script", "<b>", "<i>"):
        assert tag not in page
    assert "&lt;i&gt;x&lt;/i&gt;" in page


def run_component(tmp_path: Path, **options: Any) -> tuple[bool]:
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "in")
    result: tuple[bool] = validate_table.python_func(
        table=dsl.Dataset(name="table", uri=str(tmp_path / "in")),
        violations=dsl.Artifact(name="violations", uri=str(tmp_path / "violations")),
        used_schema=dsl.Artifact(name="used_schema", uri=str(tmp_path / "used")),
        report=dsl.HTML(name="report", uri=str(tmp_path / "report")),
        **options,
    )
    return result


def test_the_component_fails_the_task_or_leaves_the_decision_to_the_pipeline(
    tmp_path: Path,
) -> None:
    schema = {"columns": {"a": {"dtype": "int64", "less_than": 2}}}
    with pytest.raises(ValueError) as error:
        run_component(tmp_path, schema=schema)
    assert str(error.value) == (
        "the table does not fit the schema: column 'a': less_than(2) fails in 1 row (row 1: 2)"
    )
    assert run_component(tmp_path, schema=schema, fail=False) == (False,)
    violations = json.loads((tmp_path / "violations").read_text())
    assert (violations["valid"], violations["rows"]) == (False, 2)
    assert violations["violations"][0]["examples"] == [{"row": 1, "value": "2"}]
    assert "1 checks fail" in (tmp_path / "report").read_text()
    assert run_component(tmp_path, infer=True) == (True,)
    used = json.loads((tmp_path / "used").read_text())
    assert used["columns"] == {"a": {"dtype": "int64"}}
    schema_file = dsl.Artifact(name="schema", uri=str(tmp_path / "used"))
    assert run_component(tmp_path, schema_file=schema_file) == (True,)


def test_a_report_is_standard_json(tmp_path: Path) -> None:
    columns = {"a": {"dtype": "float64", "less_than": 2.0}}
    report = check(tmp_path, {"a": [float("inf"), float("nan")]}, {"columns": columns})
    write_violations(report, tmp_path / "violations")
    json.loads((tmp_path / "violations").read_text(), parse_constant=pytest.fail)
