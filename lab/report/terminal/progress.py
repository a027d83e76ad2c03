"""The progress display of a running scenario: the phase, and the counts of each variant so far.

It appears on stderr and only on a terminal: a pipe gets nothing, and stdout has only the result.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lab.scenarios.scenario import Scenario
from lab.support.text import plain, styled

PHASE_NAMES = {
    "starting": "starting the processes",
    "warm_up": "warming up",
    "checking": "comparing what was acknowledged with what is there",
    "stopping": "ending the processes",
    "settling": "waiting until everything has settled",
}


class ProgressDisplay:
    """A display of one run: `with ProgressDisplay(...) as display: run(progress=display)`."""

    def __init__(
        self, scenario: Scenario, console: Console, position: str = "", level: int = 0
    ) -> None:
        """`position`: in a list of scenarios, as `3 of 31`; "" for a single one. `level`: below 0
        nothing is shown; above 0, each phase is also a line, in a pipe as well."""
        self._scenario = scenario
        self._position = position
        self._length_s = scenario.timeline().seconds
        self._latest: dict[str, Any] = {"phase": "starting", "t": 0.0, "variants": {}}
        # With FORCE_COLOR, Rich takes a pipe for a terminal, but a pipe has no cursor to move.
        hidden = level < 0 or not (console.is_terminal and console.file.isatty())
        self._steps = console if level > 0 else None
        self._live = None if hidden else Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, progress: Mapping[str, Any]) -> None:
        """Show a progress line: `{"phase", "t", "variants": {name: {sent, ok, failed, …}}}`."""
        if self._steps and progress.get("phase", self._latest["phase"]) != self._latest["phase"]:
            self._steps.print(self._step_line(progress), soft_wrap=True)
        self._latest |= progress
        if self._live:
            self._live.update(self._render(), refresh=True)

    def _step_line(self, progress: Mapping[str, Any]) -> Text:
        """The phase that begins, and how many requests each variant has answered so far."""
        phase = progress["phase"]
        counts = (
            f"{name} {count['ok']} ok, {count['failed']} failed"
            for name, count in (progress.get("variants") or self._latest["variants"]).items()
        )
        words = (
            self._position,
            self._scenario.name,
            f"{progress.get('t', self._latest['t']):5.1f} s",
            PHASE_NAMES.get(phase, phase),
            self._active_faults(phase),
            "; ".join(counts),
        )
        return styled("   ".join(word for word in words if word))

    def _render(self) -> RenderableType:
        phase = self._latest["phase"]
        done_s = min(max(0.0, self._latest["t"]), self._length_s)
        head = Text.assemble(
            (plain(self._scenario.title), "bold"),
            f"   {PHASE_NAMES.get(phase, phase)}",
            overflow="ellipsis",
        )
        if self._position:
            head = Text.assemble((f"{self._position}   ", "dim"), head)
        for note in ("alone", "run"):
            if note_text := self._latest.get(note):
                head.append("   ").append_text(styled(note_text, "dim"))
        if faults := self._active_faults(phase):
            head.append("   ").append_text(styled(faults, "bold red"))
        rows = Table.grid(padding=(0, 2))
        for name, counts in self._latest["variants"].items():
            sent = counts["ok"] + counts["failed"]
            share = f"{100 * counts['ok'] / sent:.0f} % answered well" if sent else ""
            waiting = counts["in_flight"]
            rows.add_row(
                styled(name, "bold"),
                f"{counts['sent']} sent",
                share,
                f"{counts['failed']} failed" if counts["failed"] else "",
                f"{waiting} waiting" if waiting else "",
                f"{counts['pending_visible']} not seen yet" if counts["pending_visible"] else "",
            )
        bar = Table.grid()  # a bar outside a table ends without a line break
        bar.add_row(ProgressBar(total=self._length_s, completed=done_s, width=60))
        return Group(head, bar, rows)

    def _active_faults(self, phase: str) -> str:
        """The faults of this phase in words; "" if there are none."""
        for scenario_phase in self._scenario.timeline().phases:
            if scenario_phase.name == phase and scenario_phase.faults:
                return ", ".join(f"{w.fault.target}: {w.fault.kind}" for w in scenario_phase.faults)
        return ""
