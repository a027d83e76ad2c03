"""Assertions about a refused request: its problem document, and the rows on disk."""

import sqlite3
from typing import Any

from tests.support.laboratory import RunningBlog


def assert_is_problem(response: Any, status: int, field: str | None = None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert_problem_document(response.json(), status, field)


def assert_problem_document(problem: dict[str, Any], status: int, field: str | None = None) -> None:
    assert {"type", "title", "status", "detail", "definite"} <= set(problem)
    assert problem["status"] == status
    assert problem["definite"] is True
    assert problem.get("field") == field
    assert "Traceback" not in problem["detail"]


def rows_on_disk(blog: RunningBlog) -> dict[str, int]:
    """The number of rows of each table in each database of the stack."""
    counts = {}
    for path in sorted((blog.laboratory.folder / "data" / blog.stack.name).glob("*.db")):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            counts[f"{path.stem}.{table}"] = rows
        connection.close()
    return counts
