from __future__ import annotations

import re
import sqlite3
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "results.md"


def test_the_page_names_every_table_and_column(tmp_path, create):
    create(tmp_path).close()
    page = PAGE.read_text(encoding="utf-8")
    sql = sqlite3.connect(tmp_path / "run.sqlite")
    names = [name for (name,) in sql.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
    assert names
    for table in names:
        for _, column, *_ in sql.execute(f"PRAGMA table_info({table})"):
            assert f"`{column}`" in page, f"{table}.{column}"
        assert f"`{table}`" in page
    version = sql.execute("PRAGMA user_version").fetchone()[0]
    sql.close()
    assert f"layout, now {version};" in page


def test_the_queries_of_the_page_run(tmp_path, create, row):
    with create(tmp_path) as store:
        store.commit_epochs(
            [row(), row("half", 7, val_accuracy=0.9), row("half", val_accuracy=0.8)]
        )
    page = PAGE.read_text(encoding="utf-8")
    queries = re.findall(r'"\s*(SELECT[^"]+)"', page)
    assert len(queries) == 2
    sql = sqlite3.connect(tmp_path / "run.sqlite")
    first, second = (sql.execute(query).fetchall() for query in queries)
    sql.close()
    assert [found[:2] for found in first] == [("half", 2), ("none", 1)]
    assert len(second) == 3 * len(row().values)
