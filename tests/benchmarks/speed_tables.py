"""Tables of what was measured: reports/benchmarks/tables/{steps,routing,fixed,gpu}.{csv,md}."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import NamedTuple

from capsnet.files import write_whole
from pipeline.runtime.paths import TABLES, csv_text
from tests.benchmarks.cases import LOWER_SAME, PARTS, PLAIN, RUN, RUNS, STEP_LABELS, TITLES
from tests.benchmarks.fixed import Cost
from tests.benchmarks.rounds import Measured, times_faster

SpeedRow = dict[str, object]
PART_TITLES = dict(zip(PARTS, ("Encoder", "Routing", "Decoder, losses", "Backward", "Optimiser"), strict=True))


class Setting(NamedTuple):
    """The circumstances of the measurements."""

    hardware: str
    torch: str
    python: str
    commit: str
    batch: int
    gpu: bool

    def facts(self) -> SpeedRow:
        """Return what stands beside each number in a CSV file."""
        return {
            "batch": self.batch,
            **{name: str(getattr(self, name)) for name in ("hardware", "torch", "python", "commit")},
        }

    def words(self) -> str:
        """Return it as a footnote."""
        return f"Measured on {self.hardware}, torch {self.torch}, Python {self.python}, commit {self.commit}."


def steps_rows(measured: Sequence[Measured], setting: Setting) -> list[SpeedRow]:
    """Return the rows of steps.csv: every implementation of every case."""
    return [row for _, rows in groupby(measured, lambda each: each.job["case"]) for row in _case_rows([*rows], setting)]


def _case_rows(measured: Sequence[Measured], setting: Setting) -> Iterator[SpeedRow]:
    plain = {each.job["implementation"]: each for each in measured if each.job["implementation"] in PLAIN}
    for each in measured:
        speeds = each.images_per_second
        yield {
            "case": each.job["case"],
            "implementation": each.job["implementation"],
            "images_per_second": f"{median(speeds):.2f}",
            "images_per_second_low": f"{min(speeds):.2f}",
            "images_per_second_high": f"{max(speeds):.2f}",
            "seconds_per_step": f"{median(each.seconds):.5f}",
            **{f"{part}_seconds": f"{each.parts[part]:.5f}" for part in PARTS},
            "peak_mb": f"{each.mb:.1f}",
            **{f"times_{name}": f"{times_faster(each, plain[name]):.3f}" if plain else "" for name in PLAIN},
            "n": len(each.seconds),
            **setting.facts(),
            "batch": each.job["batch"],
        }


def routing_rows(measured: Sequence[Measured], setting: Setting) -> list[SpeedRow]:
    """Return the rows of routing.csv."""
    return [
        {
            "lower_capsules": each.job["lower"],
            "implementation": each.job["implementation"],
            "seconds": f"{median(each.seconds):.5f}",
            "seconds_low": f"{min(each.seconds):.5f}",
            "seconds_high": f"{max(each.seconds):.5f}",
            "peak_mb": f"{each.mb:.1f}",
            "n": len(each.seconds),
            **setting.facts(),
        }
        for each in measured
    ]


def steps_markdown(rows: Sequence[SpeedRow], setting: Setting) -> str:
    """Return the table of whole steps as people read it."""
    shown = [
        {
            "Network": TITLES[str(row["case"])],
            "Implementation": STEP_LABELS[str(row["implementation"])],
            "Images/s": _range(row, "images_per_second", ".0f"),
            "Against bmm": _times(row["times_bmm"]),
            "Against broadcast": _times(row["times_broadcast"]),
            "Peak memory (MB)": _number(row["peak_mb"], ".0f"),
            "ms a step": _number(row["seconds_per_step"], ".0f", 1000),
            **{title: _number(row[f"{part}_seconds"], ".0f", 1000) for part, title in PART_TITLES.items()},
            "n": row["n"],
        }
        for row in rows
    ]
    defaults = "torch's defaults, TF32 in convolutions," if setting.gpu else "torch's defaults"
    notes = [
        "Images/s: median and range of n rounds, in which all implementations of a network take turns. Against: the "
        f"median of the ratios within a round. Batch {setting.batch}, fully connected decoder, 3 routing iterations.",
        "Ours: the trainer of the stages, which also chooses, shuffles and shifts the images, deterministically. "
        f"Plain: the same network as public ports write it (tests/benchmarks/plain.py), float32, with {defaults} "
        "and batches that are ready-made.",
        "The columns from Encoder to Optimiser are milliseconds for each part of a step, in eager mode, each part "
        "started when the one before has ended; medians of n. Peak memory is the highest rise above what the process "
        "holds after its imports. It includes weights, gradients and Adam's moments.",
        f"The CIFAR10 network has the size of that in Sabour et al. 2017, {LOWER_SAME} primary capsules; decoder and "
        "routing are those of the others.",
        f"The MNIST network is {RUN} of params.yaml, that with self-attention routing {RUNS['attention']} with batches "
        f"of its own size. {setting.words()}",
    ]
    return _markdown(shown) + _notes(notes)


def routing_markdown(rows: Sequence[SpeedRow], setting: Setting) -> str:
    """Return the table of routing alone as people read it."""
    ours = "ours, {}".format
    shown = [
        {
            "Lower capsules": row["lower_capsules"],
            "Implementation": STEP_LABELS.get(str(row["implementation"]), ours(row["implementation"])),
            "ms": _range(row, "seconds", ".0f", 1000),
            "Memory (MB)": _number(row["peak_mb"], ".0f"),
            "n": row["n"],
        }
        for row in rows
    ]
    notes = [
        f"Forward and backward, batch {setting.batch}, 10 upper capsules, poses of 8 and 16, 3 iterations, float32: "
        "median and range of n rounds. Memory: peak beyond inputs, weights and their gradients.",
        setting.words(),
    ]
    return _markdown(shown) + _notes(notes)


def fixed_markdown(costs: Sequence[Cost], setting: Setting) -> str:
    """Return the table of fixed costs as people read it."""
    rows = [cost.row() for cost in costs]
    shown = [
        {
            "Cost": row["cost"],
            "Seconds": _range({**row, "seconds_low": row["low"], "seconds_high": row["high"]}, "seconds", ".2f")
            if row["n"]
            else row["note"],
            "n": row["n"],
        }
        for row in rows
    ]
    notes = [f"Median and range of n processes, each started afresh, after one that does not count. {setting.words()}"]
    return _markdown(shown) + _notes(notes)


def gpu_markdown(rows: Sequence[Mapping[str, object]], setting: Setting) -> str:
    """Return the table of measurements that are made only on a GPU."""
    shown = [
        {
            "Measurement": row["measurement"],
            "Median": f"{row['median']:.3g} {row['unit']}",
            "Range": f"{row['low']:.3g} to {row['high']:.3g}",
            "n": row["n"],
        }
        for row in rows
    ]
    return _markdown(shown) + _notes([f"Epochs of random images that are on the device already. {setting.words()}"])


def write_table(folder: Path, name: str, rows: Sequence[Mapping[str, object]], markdown: str) -> None:
    """Write a table for programs and for people."""
    write_whole(folder / TABLES / f"{name}.csv", csv_text(rows))
    write_whole(folder / TABLES / f"{name}.md", markdown)


def _number(value: object, form: str, scale: float = 1) -> str:
    return f"{scale * float(str(value)):,{form}}"


def _times(value: object) -> str:
    return f"{float(str(value)):.2f}×" if value else ""


def _range(row: Mapping[str, object], key: str, form: str, scale: float = 1) -> str:
    middle, low, high = (_number(row[name], form, scale) for name in (key, f"{key}_low", f"{key}_high"))
    return f"{middle} ({low} to {high})"


def _markdown(rows: Sequence[Mapping[str, object]]) -> str:
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(map(str, row.values())) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _notes(notes: Sequence[str]) -> str:
    return "".join(f"\n- {note}" for note in notes) + "\n"
