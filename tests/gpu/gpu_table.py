"""What was found on a GPU, as a table: reports/gpu/environment.json and tables/gpu.{csv,md}."""

import json
from pathlib import Path
from typing import NamedTuple

from capsnet.files import write_whole
from pipeline.runtime.paths import TABLES, csv_text

PREFIX = "row: "
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


class Sheet:
    """The rows so far; every new one is on the disk at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[GpuRow] = []

    def add(self, row: GpuRow) -> None:
        """Add a row and write everything anew."""
        self.rows.append(row)
        write_whole(self.folder / TABLES / "gpu.csv", csv_text([each._asdict() for each in self.rows]))
        write_whole(self.folder / TABLES / "gpu.md", self.markdown())
        if row.step == "environment":
            facts = {each.measurement: each.note for each in self.rows if each.step == "environment" and each.note}
            write_whole(self.folder / "environment.json", json.dumps(facts, indent=2) + "\n")

    def markdown(self) -> str:
        """Return the table as people read it."""
        facts = {each.measurement: each.note for each in self.rows if each.step == "environment"}
        lines = ["| Step | Measurement | Value | Unit | Verdict | |", "| --- | --- | --- | --- | --- | --- |"]
        for row in self.rows:
            if row.step != "environment":
                cells = (row.step, row.measurement, number(row.value), row.unit)
                note = row.note.replace("|", "/")
                lines.append(f"| {' | '.join(cells)} | {MARKS.get(row.verdict, row.verdict)} | {note} |")
        about = ", ".join(f"{name} {facts[name]}" for name in ("driver", "torch", "triton", "python") if name in facts)
        lines += ["", f"- Measured on {facts.get('card', 'no GPU')}: {about}; commit {facts.get('commit', 'unknown')}."]
        return "\n".join(lines) + "\n"
