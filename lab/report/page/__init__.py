"""A run as one page: self-contained, for a browser and for paper.

Everything is in the one file, style and charts too, and it asks nobody for anything: it can be
mailed, handed in and opened without a network in ten years. Its own policy forbids it any request
and any script. The order is a lab report's: question, prediction, timeline, figures, claims,
explanation, machine and seed.

`keep(result, folder)` writes it into a run's folder; `page(result, raw)` is its text.
"""

import os
from pathlib import Path

from lab.report.charts import Raw
from lab.report.page.document import page as page
from lab.scenarios.result import Result

NAME = "report.html"


def keep(result: Result, folder: Path) -> Path:
    """Write the page into the run's folder, whole or not at all, for its owner's eyes only; where
    it is. Raises OSError."""
    path = folder / NAME
    partial = path.with_name(path.name + ".part")
    partial.unlink(missing_ok=True)
    text = page(result, Raw.of(result, folder))
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
    partial.replace(path)
    return path
