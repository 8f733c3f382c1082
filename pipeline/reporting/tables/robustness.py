"""The table `robustness`: accuracies on images that are harder than those of the training.

The CSV file has a row for the test images of each run, and one for each angle if the run is also scored on rotated
images. People read two parts: the runs with angles, and the runs with hard test images of their own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.reporting.scores import ScoreRow, read_rotations, rotated_by, rows_of
from pipeline.reporting.tables.columns import (
    ACCURACY,
    DIFFERENCE,
    EPOCHS,
    MODEL,
    PARAMETERS,
    PUBLISHED_ACCURACY,
    RUN,
    SOURCE,
    Column,
    N,
    cells,
    frame,
    spread,
)
from pipeline.reporting.tables.columns import DATA as DATASET
from pipeline.reporting.tables.table import Table, assemble, with_published
from pipeline.reporting.typeset import NOT_RUN, Part
from pipeline.settings.params import Params
from pipeline.settings.tables import Robustness

DATA = [
    "run", "model", "dataset", "parameters", "epochs", "seeds", "degrees", "accuracy_mean", "accuracy_std",
    "published_accuracy", "source", "difference",
]  # fmt: skip
FIRST = [RUN, MODEL, DATASET, ACCURACY, PUBLISHED_ACCURACY, DIFFERENCE]
LAST = [N, EPOCHS, PARAMETERS, SOURCE]
ROTATED = "Test images rotated by an angle"
HARDER = "Other test images"
ANGLES = "Columns of degrees: accuracy (%) on the test images, all rotated counter-clockwise by that angle; "
NO_ROTATION = "no training rotates images."


def robustness(entry: Robustness, params: Params) -> Table:
    """Build the table."""
    rows = [with_published(row, params) for row in rows_of(entry.study, entry.runs, params)]
    angles = {row["run"]: _at_angles(entry.study, row) for row in rows if row["run"] in params.robustness}
    data = frame([line for row in rows for line in (row, *angles.get(row["run"], []))], DATA)
    rotated = [{**row, "angles": angles[row["run"]]} for row in rows if row["run"] in angles]
    harder = [row for row in rows if row["run"] not in angles]
    notes = [*_notes(rows, params), *_some_seeds(rows, angles)]
    parts = [
        Part(ROTATED if harder else "", cells(rotated, [*FIRST, *map(_angle, entry.degrees), *LAST])),
        Part(HARDER if rotated else "", cells(harder, [*FIRST, *LAST])),
    ]
    table = assemble(rows, data, [part for part in parts if part.cells[1:]] or parts[:1], notes)
    waiting = [rotated_by(run) for run, lines in angles.items() if not {*entry.degrees} <= _degrees(lines)]
    return table._replace(missing=[*table.missing, *waiting])


def _angle(degrees: int) -> Column:
    def text(row: Mapping[str, Any]) -> str:
        at = next((line for line in row["angles"] if line["degrees"] == degrees), None)
        return spread(at["accuracy_mean"], at["accuracy_std"], 2) if at else NOT_RUN

    return Column(f"{degrees}°", text)


def _degrees(lines: Sequence[ScoreRow]) -> set[int]:
    return {line["degrees"] for line in lines}


def _at_angles(study: str, row: ScoreRow) -> list[ScoreRow]:
    """Return the row of a run at each angle at which it is scored."""
    rotations = read_rotations(study, row["run"]) if row["seeds"] else None
    if rotations is None:
        return []
    published = ("published_accuracy", "source", "difference", "published_rloss", "published_mloss")
    kept = {key: value for key, value in row.items() if key not in published}
    return [
        {
            **kept,
            "seeds": len(accuracies),
            "degrees": degrees,
            "accuracy_mean": accuracies.mean(),
            "accuracy_std": accuracies.std(),
        }
        for degrees, accuracies in rotations.groupby("degrees")["accuracy"]
    ]


def _notes(rows: Sequence[ScoreRow], params: Params) -> list[str]:
    """Say how the test images differ from those of the training."""
    moved = dict.fromkeys(row["dataset"] for row in rows if params.datasets[row["dataset"]].format == "affnist")
    notes = [ANGLES + _rotated_in_training(rows)] if any(row["run"] in params.robustness for row in rows) else []
    notes += [
        f"{name}: trained on digits that are shifted, scored on digits that are rotated, sheared and scaled. They are "
        "made here of MNIST, within the ranges of affNIST; published values are of the original affNIST."
        for name in moved
    ]
    return notes + [
        f"{row['run']}: {row['pairs']['number']:,} pairs of overlaid test images of two classes. A pair is right if "
        f"both classes are; of the single images, {row['pairs']['image_accuracy_mean']:.2f} % are."
        for row in rows
        if "pairs" in row
    ]


def _some_seeds(rows: Sequence[ScoreRow], angles: Mapping[str, Sequence[ScoreRow]]) -> list[str]:
    """Name the runs of which only some seeds are scored on rotated images."""
    return [
        f"{row['run']}: {lines[0]['seeds']} of {row['seeds']} seeds scored on rotated images."
        for row in rows
        if (lines := angles.get(row["run"], [])) and lines[0]["seeds"] < row["seeds"]
    ]


def _rotated_in_training(rows: Sequence[ScoreRow]) -> str:
    # A run that was scored by an early version has no such setting.
    largest = {row["run"]: row.get("settings", {}).get("rotation", 0) for row in rows}
    rotated = [f"{run} was trained on images rotated by up to {angle:g}°" for run, angle in largest.items() if angle]
    return f"{', '.join(rotated)}, the others on upright images." if rotated else NO_ROTATION
