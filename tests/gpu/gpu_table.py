"""What was found on a GPU, as tables: reports/gpu/environment.json and tables/gpu.{csv,md}, costs.md, rates.md."""

import json
from pathlib import Path
from typing import NamedTuple

from capsnet.files import write_whole
from pipeline.runtime.paths import TABLES, csv_text

PREFIX = "row: "
COSTS = ("epoch", "training")  # steps whose seconds the README shows
BARE = ": an epoch"  # the row after it has the same epoch with its scoring
MARKS = {"": "", "ok": "ok", "failed": "**failed**", "too slow": "**too slow**"}


class GpuRow(NamedTuple):
    """One number or verdict of a step."""

    step: str
    measurement: str
    unit: str
    value: float | None
    verdict: str = ""
    note: str = ""

    @classmethod
    def read(cls, line: str, step: str) -> "GpuRow | None":
        """Return the row that a line of a step's output carries, if it carries one."""
        if not line.startswith(PREFIX):
            return None
        values = json.loads(line.removeprefix(PREFIX))
        return cls(step, values["measurement"], values["unit"], values["value"], values["verdict"], values["note"])

    def words(self) -> str:
        """Return the row as a line for a terminal."""
        parts = (f"{self.measurement}:", number(self.value), self.unit, self.verdict, self.note)
        return "  " + " ".join(part for part in parts if part)


def tell(measurement: str, unit: str, value: float | None, verdict: str = "", note: str = "") -> None:
    """Print a row for the process that reads this step's output."""
    fields = {"measurement": measurement, "unit": unit, "value": value, "verdict": verdict, "note": note}
    print(PREFIX + json.dumps(fields), flush=True)


def number(value: float | None) -> str:
    """Write a number with three digits or more."""
    if value is None:
        return ""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


class RowSheet:
    """The rows so far; every new one is on the disk at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[GpuRow] = []

    def add(self, row: GpuRow) -> None:
        """Add a row and write everything anew."""
        self.rows.append(row)
        write_whole(self.folder / TABLES / "gpu.csv", csv_text([each._asdict() for each in self.rows]))
        write_whole(self.folder / TABLES / "gpu.md", self.markdown())
        write_whole(self.folder / TABLES / "costs.md", self.costs())
        write_whole(self.folder / TABLES / "rates.md", self.images_per_second())
        if row.step == "environment":
            write_whole(self.folder / "environment.json", json.dumps(self.facts(), indent=2) + "\n")

    def facts(self) -> dict[str, str]:
        """Return what is known of the machine: card, versions and rates."""
        rows = [row for row in self.rows if row.step == "environment" and row.verdict == ""]
        return {row.measurement: row.note or f"{number(row.value)} {row.unit}" for row in rows}

    def rates(self) -> dict[str, float]:
        """Return the measured rates of the machine."""
        return {row.measurement: row.value for row in self.rows if row.step == "environment" and row.value is not None}

    def failed(self, step: str) -> bool:
        """Tell whether a row of this step has failed."""
        return any(row.step == step and row.verdict == "failed" for row in self.rows)

    def markdown(self) -> str:
        """Return the table as people read it."""
        lines = ["| Step | Measurement | Value | Unit | Verdict | Note |", "| --- | --- | --- | --- | --- | --- |"]
        for row in self.rows:
            if row.step != "environment" or row.value is not None:
                cells = (row.step, row.measurement, number(row.value), row.unit)
                note = row.note.replace("|", "/")
                lines.append(f"| {' | '.join(cells)} | {MARKS.get(row.verdict, row.verdict)} | {note} |")
        return "\n".join([*lines, "", f"- Measured on {self._measured_on()}."]) + "\n"

    def costs(self) -> str:
        """Return the short table for the README: what an epoch and the training cost on this card."""
        timed = [row for row in self.rows if row.step in COSTS and row.unit == "s" and row.note]
        shown = [row for row in timed if not row.measurement.endswith(BARE)]
        lines = ["| What | Seconds | |", "| --- | --- | --- |"]
        lines += [f"| {row.measurement} | {number(row.value)} | {row.note} |" for row in shown]
        return "\n".join([*lines, "", f"- Measured on {self._measured_on()}."]) + "\n"

    def images_per_second(self) -> str:
        """Return the table of training steps: a network and a batch in each row, a precision in each column."""
        found: dict[tuple[str, str], dict[str, str]] = {}
        for row in self.rows:
            network, *setting = row.measurement.rsplit(", ", 2)
            if row.step == "steps" and row.unit == "images/s" and setting[-1].startswith("batch "):
                precision, batch = setting
                found.setdefault((network, batch.removeprefix("batch ")), {})[precision] = number(row.value) or "failed"
        columns = list(dict.fromkeys(precision for cells in found.values() for precision in cells))
        lines = [f"| Network | Batch | {' | '.join(columns)} |", "| --- " * (2 + len(columns)) + "|"]
        for (network, batch), cells in found.items():
            lines.append(f"| {network} | {batch} | {' | '.join(cells.get(column, '') for column in columns)} |")
        return "\n".join([*lines, "", f"- Images per second. Measured on {self._measured_on()}."]) + "\n"

    def _measured_on(self) -> str:
        facts = self.facts()
        about = ", ".join(f"{name} {facts[name]}" for name in ("driver", "torch", "triton", "python") if name in facts)
        return f"{facts.get('card', 'no GPU')}: {about}; commit {facts.get('commit', 'unknown')}"
