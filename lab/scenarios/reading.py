"""A scenario from its file, or sentences about what is wrong with it."""

from lab.reading import FileError, Kind


class ScenarioError(FileError):
    """A scenario file that can't be run."""


SCENARIO_FILE = Kind(
    "a scenario",
    ScenarioError,
    # A table whose only key is its text or its list reads better at the end of a file than a bare
    # key at its beginning. Both are understood.
    tables={"explain": "text", "steady_state": "that"},
)
