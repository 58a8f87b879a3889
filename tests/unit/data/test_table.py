"""Tables: columns by kind, rows drawn, everything fitted on training rows, dirt refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from droplab import data
from droplab.data import DataSet, Split
from droplab.data._draw import draw
from droplab.errors import DataError
from droplab.recipe import DataSpec, Recipe, dumps, loads, override

ROWS = 300
CITIES = ("Kyiv", "Lima", "Oslo", "Rome")


def table() -> pd.DataFrame:
    """People with what real tables have: names of rows, gaps, text, whole numbers, dates."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, ROWS)
    income = np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(30, 10, ROWS).round(2))
    city = rng.choice([*CITIES, None], ROWS)
    price = (0.5 * age + rng.normal(0, 3, ROWS)).round(1)
    return pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "name": [f"person {i}" for i in range(ROWS)],
            "age": age,
            "income": income,
            "city": city,
            "member": rng.random(ROWS) < 0.5,
            "day": [f"2026-{1 + i % 12:02d}-0{1 + i % 9}" for i in range(ROWS)],
            "price": price,
            "grade": np.where(price > 25, "good", "bad"),
        }
    )


Load = Callable[..., DataSet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def make(
        content: pd.DataFrame | str | bytes | None = None,
        *,
        task: str | None = None,
        train: int | None = None,
        validation: Any = None,
        name: str = "t.csv",
        **arguments: Any,
    ) -> DataSet:
        file = tmp_path / name
        if isinstance(content, str):
            file.write_text(content)
        elif isinstance(content, bytes):
            file.write_bytes(content)
        else:
            frame = table() if content is None else content
            if file.suffix == ".parquet":
                frame.to_parquet(file)
            else:
                frame.to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
        spec = DataSpec(path=str(file), arguments=arguments, train=train, validation=validation)
        return data.load(spec, task=task)

    return make


BESIDE = ("grade", "day")


def test_columns_become_numbers_marks_and_places(load: Load) -> None:
    found = load(target="price", ignore=BESIDE)
    assert found.task == "regression"
    assert found.columns is not None
    assert found.columns.numeric == ("age", "income", "member", "income is missing")
    assert dict(found.columns.categories) == {"city": 5}  # a gap is a name of its own
    assert isinstance(found.train, Split)
    numbers, places = found.train.inputs[:, :3], found.train.inputs[:, 4]
    assert found.train.inputs.dtype == torch.float32
    torch.testing.assert_close(numbers.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    known = found.train.inputs[:, 3] == 0
    torch.testing.assert_close(
        numbers[known].std(0, correction=0)[1], torch.tensor(1.0), atol=1e-5, rtol=0
    )
    assert set(places.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert any("'id' numbers the rows" in note for note in found.notes)
    assert any("'name' has 300 different values" in note for note in found.notes)
    assert any(
        "180 rows to train on, 60 to validate on and 60 for the test" in n for n in found.notes
    )


@pytest.mark.parametrize("name", ["t.tsv", "t.parquet", "t.csv.gz"])
def test_every_format_gives_the_same_numbers(load: Load, name: str) -> None:
    one, other = load(target="price", ignore=BESIDE), load(target="price", ignore=BESIDE, name=name)
    assert one.checksum == other.checksum


def test_a_row_is_what_its_line_says(load: Load) -> None:
    """Read back: the mean and the spread of the training rows turn an input into its line."""
    frame = table()
    found = load(frame, target="price", columns=("age",))
    assert found.drawn is not None
    parts = (found.drawn.train, found.drawn.validation, found.drawn.test)
    prices = [part.targets for part in parts if isinstance(part, Split)]
    ages = [part.inputs for part in parts if isinstance(part, Split)]
    assert sorted(torch.cat(prices).tolist()) == pytest.approx(sorted(frame["price"]))
    fit = np.polyfit(torch.cat(ages)[:, 0].numpy(), torch.cat(prices).numpy(), 1)
    straight = np.polyfit(frame["age"], frame["price"], 1)
    by_price = dict(zip(frame["price"].round(1), frame["age"], strict=True))
    spread = fit[0] / straight[0]
    assert fit[1] == pytest.approx(np.polyval(straight, (fit[1] - straight[1]) / straight[0]))
    for value, price in zip(ages[1][:, 0].tolist(), prices[1].tolist(), strict=True):
        mean = (fit[1] - straight[1]) / straight[0]
        if list(frame["price"]).count(round(price, 1)) == 1:
            assert value * spread + mean == pytest.approx(by_price[round(price, 1)], abs=1e-3)


def test_nothing_of_other_rows_reaches_the_encoding(load: Load) -> None:
    """Whatever stands in validation and test rows, training inputs stay as they are."""
    frame = table()
    before = load(frame, target="price", ignore=BESIDE)
    kept = draw(ROWS, test=60, validation=60).train
    others = np.setdiff1d(np.arange(ROWS), kept)
    frame.loc[others, "age"] += 1000
    frame.loc[others, "city"] = "Atlantis"
    after = load(frame, target="price", ignore=BESIDE)
    assert isinstance(before.train, Split)
    assert isinstance(after.train, Split)
    assert after.drawn is not None
    assert isinstance(after.drawn.validation, Split)
    torch.testing.assert_close(after.train.inputs, before.train.inputs, rtol=0, atol=0)
    assert set(after.drawn.validation.inputs[:, 4].tolist()) == {0.0}  # never seen in training


def test_classes_are_drawn_in_their_share(load: Load) -> None:
    found = load(target="grade", ignore=("price", "day"))
    assert found.classes == ("bad", "good")
    assert found.drawn is not None
    shares = [
        part.targets.double().mean().item()
        for part in (found.drawn.train, found.drawn.validation, found.drawn.test)
        if isinstance(part, Split)
    ]
    assert max(shares) - min(shares) < 0.02


def test_whole_numbers_are_asked_about(load: Load) -> None:
    with pytest.raises(
        DataError, match=r"'age': .*whole numbers, 18 to 79.*task = 'classification'"
    ):
        load(target="age")
    assert load(target="age", task="regression").task == "regression"
    grades = pd.DataFrame({"x": np.arange(60) * 0.1, "quality": np.arange(60) % 3 + 3})
    found = load(grades, target="quality", task="classification")
    assert found.classes == ("3", "4", "5")  # numbers that name classes need not begin at 0


def test_several_targets(load: Load) -> None:
    found = load(target=("price", "age"), columns=("city", "income"))
    assert found.task == "regression"
    assert isinstance(found.train, Split)
    assert found.train.targets.shape == (180, 2)


def test_by_time_the_latest_come_last(load: Load) -> None:
    frame = table()
    found = load(frame, target="price", time="day", columns=("age",), validation=0.1, test=0.2)
    assert found.drawn is not None
    days = dict(zip(frame["price"], frame["day"], strict=False))
    unique = frame["price"].value_counts()
    ends: list[list[str]] = []
    for part in (found.drawn.train, found.drawn.validation, found.drawn.test):
        assert isinstance(part, Split)
        prices = [round(price, 1) for price in part.targets.tolist()]
        ends.append([days[price] for price in prices if unique[price] == 1])
    assert max(ends[0]) < min(ends[1]) <= max(ends[1]) < min(ends[2])


def test_a_test_file_of_its_own(load: Load, tmp_path: Path) -> None:
    table()[:40].to_csv(tmp_path / "later.csv", index=False)
    found = load(target="price", ignore=BESIDE, test=str(tmp_path / "later.csv"))
    assert found.test is not None
    assert (len(found.train), len(found.test)) == (240, 40)
    table()[["id"]].to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match=r"other.csv has no column 'name'"):
        load(target="price", test=str(tmp_path / "other.csv"))


@given(
    groups=st.lists(st.integers(0, 12), min_size=20, max_size=60),
    test=st.integers(0, 5),
    validation=st.integers(1, 5),
    by_time=st.booleans(),
)
def test_no_unit_is_torn_apart(groups, test, validation, by_time) -> None:
    """And every row is in one split alone; by time, no split reaches into a later one."""
    unit = np.array(groups)
    try:
        rows = draw(
            len(unit),
            test=test,
            validation=validation,
            groups=None if by_time else unit,
            time=unit if by_time else None,
        )
    except DataError:
        # each split takes less than one unit more than it should
        assert test + validation + 2 * (max(np.bincount(unit)) - 1) >= len(unit)
        return
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(unit)))
    found = [set(unit[part].tolist()) for part in rows]
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
    assert len(rows.validation) >= validation
    assert len(rows.test) >= test
    if by_time:
        assert max(found[0]) < min(found[1])
        assert not found[2] or max(found[1]) < min(found[2])


DIRT: list[tuple[str, dict[str, Any], str]] = [
    ("a,y\n1,0\n2,1\n", {"target": "z"}, r"no column 'z'"),
    ("age,y\n1,0\n2,1\n", {"target": "y", "columns": ("ago",)}, r"did you mean 'age'"),
    ("age,y\n1,0\n2,1\n", {"target": "y", "ignore": ("agee",)}, r"data.ignore: .* 'age'"),
    *(
        (
            "a,b,y\n1,2,0\n2,3,1\n",
            {"target": "y", key: "b", "ignore": "b"},
            rf"data.{key}: .*'b', .* in d",
        )
        for key in ("columns", "groups", "time", "weights")
    ),
    ("a,y\n1,0\n2,1\n", {"target": "y", "ignore": "y"}, r"data.target: .*'y', .* as well"),
    ("a,y\n1,0\n2,1\n", {}, r"expected the column to learn, got none; .* has a, y"),
    ("a,y\n1,0\n2,1\n", {"target": "y", "colums": "a"}, r"unknown key; did you mean 'columns'"),
    ("a,b,y\n1,,0\n2,,1\n", {"target": "y"}, r"column 'b': every value is missing"),
    ("a,b,y\n1,,0\n2,,1\n", {"target": "yy"}, r"data.target: .*; did you mean 'y'"),
    ("a,b,y\n1,x,0\n2,,1\n", {"target": "y", "groups": "g"}, r"data.groups: .* no column 'g'"),
    ("a,y\n1,\n2,\n", {"target": "y"}, r"data.target: .*'y': .* missing; name a column that has"),
    ("a,y\n1,0\nx,1\n3,0\n", {"target": "y"}, r"column 'a': .* got 'x' in row 2"),
    ('a;y\n"1,5";0\n"2,5";1\n', {"target": "y"}, r"decimal point, got '1,5' in row 1"),
    ("a,y\ninf,0\n1,1\n", {"target": "y"}, r"finite numbers, got inf in row 1"),
    ("a,y\n1,0\n2,\n", {"target": "y"}, r"a target in every row, got none in 1 .* row 2"),
    ("1,2\n1,0\n2,1\n", {"target": "2"}, r"names of the columns in the first line"),
    ("", {"target": "y"}, r"cannot read this table"),
    ("a,y\n", {"target": "y"}, r"expected rows below the names"),
    ("a,y\n1,0\n2,1,3,4\n", {"target": "y"}, r"cannot read this table"),
    ("a,y\n1,0\n2,1\n", {"target": "y", "test": 5}, r"data.test: expected fewer than the 2 rows"),
    ("a,y\n1,0\n2,1\n", {"target": "y", "test": "no.csv"}, r"data.test: no file 'no.csv'"),
    ("a,y\n1,0\n2,1\n", {"target": 3}, r"data.target: expected the name of a column"),
    ("a,g,y\n1,,0\n2,1,1\n", {"target": "y", "groups": "g"}, r"no value in row 1"),
    ("a,d,y\n1,x,0\n2,w,1\n", {"target": "y", "time": "d"}, r"numbers or dates such as"),
    ("a,y\n1,0\n2,1\n", {"target": "y", "columns": ("y",)}, r"expected columns to learn from"),
    ("a,y,y\n1,0,0\n2,1,1\n", {"target": "y"}, r"column 'y' is there more than once"),
    ("a,y\n5,1,0\n5,2,1\n", {"target": "y"}, r"as names in the first line, 2, got 3"),
    ("a,y\n5,4,1,0\n6,3,2,1\n", {"target": "y"}, r"as names in the first line, 2, got 4"),
    ('a,y\n"1,200",0\n"2,000.5",1\n', {"target": "y"}, r"plain numbers, got '1,200' in row 1"),
    ("a,y\n12%,0\n-7 %,1\n", {"target": "y"}, r"plain numbers, got '12%' in row 1"),
    ("a,y\n$5.20,0\n€7,1\n", {"target": "y"}, r"plain numbers, got '\$5.20' in row 1"),
]


@pytest.mark.parametrize(("content", "arguments", "text"), DIRT)
def test_dirt_gets_one_clear_error(load: Load, content: str, arguments: Any, text: str) -> None:
    with pytest.raises(DataError, match=text) as caught:
        load(content, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "odd",
    [
        lambda lines: [line + "," for line in lines],
        lambda lines: [lines[0], *(line + "," for line in lines[1:])],
        lambda lines: [lines[0], *(f"r{at},{line}" for at, line in enumerate(lines[1:]))],
        lambda lines: [line.replace(",", "\t") for line in lines],
        lambda lines: [line.replace(",", "|") for line in lines],
        lambda lines: ["\ufeff" + lines[0], *(line.replace("Oslo", "Oslo ") for line in lines[1:])],
    ],
    ids=["comma at the end", "in rows alone", "names of rows", "tabs", "bars", "spaces"],
)
def test_what_programs_write_beside_the_values_changes_nothing(
    load: Load, odd: Callable[[list[str]], list[str]]
) -> None:
    frame = table()[["age", "income", "city", "price"]]
    text = "\n".join(odd(frame.to_csv(index=False).splitlines()))
    assert load(text, target="price").checksum == load(frame, target="price").checksum


def test_dates_are_days(load: Load) -> None:
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(ROWS) % 90, "D")
    frame = table()[["age", "price"]].assign(day=days)
    found = load(frame, target="price")
    assert found.columns is not None
    assert found.columns.numeric == ("age", "day")
    for other in (
        load(frame, target="price", name="t.parquet"),
        load(frame.assign(day=days.tz_localize("UTC")), target="price", name="t.parquet"),
        load(frame.assign(day=days.strftime("%Y-%m-%d 02:00:00+02:00")), target="price"),
    ):
        assert other.checksum == found.checksum
    gap = frame.assign(day=[None, *days[1:]])
    marked = load(gap, target="price", validation=1).columns
    assert marked is not None
    assert marked.numeric == ("age", "day", "day is missing")


def test_long_numbers_stay_apart_as_names(load: Load) -> None:
    frame = table()[["age", "price"]].assign(code=1_000_000 + np.arange(ROWS) % 4)
    found = load(frame, target="price", categorical=("code",))
    assert found.columns is not None
    assert dict(found.columns.categories) == {"code": 4}
    classes = load(frame, target="code", task="classification").classes
    assert classes == ("1000000", "1000001", "1000002", "1000003")


def test_cells_of_several_values_are_refused(load: Load) -> None:
    frame = table()[["age", "price"]].assign(pair=[[1, at] for at in range(ROWS)])
    with pytest.raises(DataError, match="column 'pair': expected one number or one text"):
        load(frame, target="price", name="t.parquet")


def test_another_encoding_is_named(load: Load) -> None:
    with pytest.raises(DataError, match="expected text in UTF-8"):
        load("a,y\nMünchen,0\nRom,1\n".encode("latin-1"), target="y")


def test_columns_that_are_ignored_may_be_broken(load: Load) -> None:
    frame = table().assign(broken=[*["1"] * (ROWS - 1), "x"], empty=None)
    found = load(frame, target="price", ignore=(*BESIDE, "broken", "empty"))
    assert len(found.train) == 180


def recipe(**keys: Any) -> Recipe:
    lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
    return loads(
        f"""
        name = "people"
        epochs = 2
        batch_size = 32
        seeds = [0, 1]
        data = {{ path = "t.csv", target = "price", ignore = ["grade", "day"], validation = 0.25 }}
        model = {{ path = "tabular", hidden = [16, 8] }}
        optimizer = {{ name = "Adam", lr = 0.01 }}
        arms = [{{ name = "none" }}, {{ name = "half", rates = {{ fc2 = 0.5, fc3 = 0.5 }} }}]
        {lines}
        """
    )


def test_what_a_recipe_says_of_a_table_stands_beside_the_path() -> None:
    first = recipe()
    assert first.data.arguments == {"target": "price", "ignore": ("grade", "day")}
    text = dumps(first)
    assert "arguments" not in text
    assert loads(text) == first
    assert override(first, {"data.path": "digits.npz"}).data.arguments == {}
