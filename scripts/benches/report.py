"""The table that a bench prints, and the arithmetic behind its figures."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, with its target where the figure has one."""

    what: str
    measured: str
    target: str = ""
    reached: bool | None = None

    @property
    def verdict(self) -> str:
        return "" if self.reached is None else "passed" if self.reached else "MISSED"


@dataclass(slots=True)
class Report:
    """Rows in the order in which they are to be read, and what one has to know to read them."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fact(self, what: str, measured: str) -> None:
        """A figure without a target."""
        self.rows.append(Row(what, measured))

    def at_most(self, what: str, value: float, limit: float, unit: str = "", shown: str = "") -> None:
        measured = shown or f"{value:.3g}{unit}"
        self.rows.append(Row(what, measured, f"<= {limit:g}{unit}", value <= limit))

    def at_least(self, what: str, value: float, limit: float, unit: str = "", shown: str = "") -> None:
        measured = shown or f"{value:.3g}{unit}"
        self.rows.append(Row(what, measured, f">= {limit:g}{unit}", value >= limit))

    def text(self) -> str:
        cells = [("", "measured", "target", "")]
        cells += [(row.what, row.measured, row.target, row.verdict) for row in self.rows]
        widths = [max(len(line[column]) for line in cells) for column in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join(["", self.title, rule, *lines, rule, *self.notes])


def machine() -> str:
    """What figures of this run are of."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            model = next(line.partition(":")[2].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()};"
        f" load before: {load:.1f}"
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all (0 to 1) do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median over rounds: what disturbs one round disturbs both of its sides."""
    return median(a / b for a, b in zip(ours, others, strict=True))
