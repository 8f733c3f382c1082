"""Assemble one table of a study: reports/<study>/tables/<kind>.csv, and as people read it .md and .tex.

    python -m pipeline.tables digits-decoders

Published values stand beside ours; every accuracy is in percent, every difference of accuracies in points, every ± a
sample standard deviation over the seeds.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from capsnet.files import write_whole
from pipeline.config import Params, find, load_params
from pipeline.outputs import METRICS, REPORTS, TABLES, TUNED
from pipeline.reporting.searches import searched
from pipeline.reporting.typeset import Cells, latex, markdown, readable, spread, word
from pipeline.settings.tables import Benchmarks, Decoders, Robustness, Topologies, factor
from pipeline.stage import name_argument, run_stage

DECODERS = [
    "run", "model", "parameters", "decoder_parameters", "epochs", "seeds", "rloss_mean", "rloss_std", "mloss_mean",
    "mloss_std", "accuracy_mean", "accuracy_std", "published_rloss", "published_mloss", "published_accuracy",
    "difference",
]  # fmt: skip
BENCHMARKS = [
    "run", "model", "dataset", "epochs", "seeds", "accuracy_mean", "accuracy_std", "published_accuracy", "source",
    "difference",
]  # fmt: skip
TOPOLOGIES = [
    "factor", "value", "run", "parameters", "epochs", "seeds", "accuracy_mean", "accuracy_std", "rloss_mean",
    "rloss_std", "mloss_mean", "mloss_std", "difference",
]  # fmt: skip
ROBUSTNESS = [
    "run", "model", "dataset", "parameters", "epochs", "seeds", "degrees", "accuracy_mean", "accuracy_std",
    "published_accuracy", "source", "difference",
]  # fmt: skip
LOSSES = (
    "RLoss: squared error summed over an image, decoder fed with the predicted class; MLoss: margin loss of an image."
)
ROTATED = (
    "Columns of degrees: accuracy (%) on the test images, all rotated counter-clockwise by that angle; no training "
    "rotates images."
)


class Table(NamedTuple):
    """One table: as data, as people read it, and what must be known to read it."""

    data: pd.DataFrame
    cells: Cells
    notes: list[str]
    provenance: str


def decoders(entry: Decoders, params: Params) -> Table:
    """Compare runs by losses, accuracy and size, one row a run."""
    rows = read_metrics(entry.study, entry.runs)
    data = pd.DataFrame([{**row, **_published(row, params)} for row in rows]).reindex(columns=DECODERS)
    return Table(data, readable(data), [*protocol(rows), LOSSES, *_about(rows, data)], provenance(rows))


def benchmarks(entry: Benchmarks, params: Params) -> Table:
    """Compare accuracies with the published ones: our runs first, then our ensembles, then what others report."""
    scored = [_with_protocol(row, entry) for row in read_metrics(entry.study, [*entry.runs, *entry.ensembles])]
    rows, together = scored[: len(entry.runs)], scored[len(entry.runs) :]
    ours = [{**row, **_published(row, params)} for row in rows]
    ensembles = [{**row, **_published(row, params, ensemble=True)} for row in map(_ensemble, together)]
    others = [
        {"model": row.model, "dataset": row.dataset, "published_accuracy": row.accuracy, "source": row.source}
        for row in entry.published
    ]
    data = pd.DataFrame([*ours, *ensembles, *others]).reindex(columns=BENCHMARKS)
    data = data.astype({"epochs": "Int64", "seeds": "Int64"})
    notes = protocol(scored)
    if together:
        notes.append(
            "An ensemble is one result of the networks of all seeds of a run, the lengths of their class capsules "
            "summed: it has no spread, and compares with other ensembles only."
        )
    return Table(data, readable(data), [*notes, *_about(scored, data)], provenance(scored))


def topologies(entry: Topologies, params: Params) -> Table:
    """Compare runs with the one that they differ from in one setting, a group a setting, that one in each group."""
    (base,) = read_metrics(entry.study, [entry.base])
    rows = read_metrics(entry.study, entry.runs)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(factor(row["settings"], base["settings"], row["run"]), [base]).append(row)
    data = pd.DataFrame(
        {**row, "factor": name, "value": word(row["settings"][name]), "difference": _difference(row, base)}
        for name, members in groups.items()
        for row in _in_order(name, members)
    ).reindex(columns=TOPOLOGIES)
    notes = [
        *protocol([base, *rows]),
        LOSSES,
        f"Each run differs from {entry.base} in the one setting of its group; differences are to that run, which is "
        "in every group and was trained once for all of them.",
    ]
    return Table(data, readable(data), [*notes, *_about([base, *rows], data)], provenance([base, *rows]))


def robustness(entry: Robustness, params: Params) -> Table:
    """Compare accuracies on images that are harder than those of the training.

    As data a run has a row for its own test images, and one for each angle if it is scored on rotated ones as well; for
    people it has one row, with the angles of the entry.
    """
    rows = read_metrics(entry.study, entry.runs)
    own = [{**row, **_published(row, params)} for row in rows]
    turned = [_at_angles(entry.study, row) if row["run"] in params.robustness else [] for row in rows]
    data = pd.DataFrame(line for row, others in zip(own, turned, strict=True) for line in (row, *others))
    cells = readable(pd.DataFrame(own).reindex(columns=ROBUSTNESS))
    place = cells[0].index("n")
    cells[0][place:place] = [f"{degrees}°" for degrees in entry.degrees]
    for others, line in zip(turned, cells[1:], strict=True):
        at = {other["degrees"]: spread(other["accuracy_mean"], other["accuracy_std"], 2) for other in others}
        line[place:place] = [at[degrees] if at else "" for degrees in entry.degrees]
    notes = [*protocol(rows), *_harder(rows, params)]
    data = data.reindex(columns=ROBUSTNESS).astype({"degrees": "Int64"})
    return Table(data, cells, [*notes, *_about(rows, data)], provenance(rows))


def _at_angles(study: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the row of a run at each angle that it is scored at."""
    return [
        {**row, "degrees": degrees, "accuracy_mean": accuracies.mean(), "accuracy_std": accuracies.std()}
        for degrees, accuracies in read_rotations(study, row["run"]).groupby("degrees")["accuracy"]
    ]


def _harder(rows: Sequence[dict[str, Any]], params: Params) -> list[str]:
    """Say in what test images differ from those of the training."""
    moved = dict.fromkeys(row["dataset"] for row in rows if params.datasets[row["dataset"]].format == "affnist")
    said = [ROTATED] if any(row["run"] in params.robustness for row in rows) else []
    said += [
        f"{name}: trained on digits moved about a field, scored on rotated, sheared, scaled ones." for name in moved
    ]
    return said + [
        f"{row['run']}: {row['pairs']['number']:,} pairs of test images of two classes, overlaid; a pair is right if "
        f"both classes are, and {row['pairs']['image_accuracy_mean']:.2f} % of the single images are."
        for row in rows
        if "pairs" in row
    ]


BUILDERS: dict[str, Callable[[Any, Params], Table]] = {
    "decoders": decoders,
    "benchmarks": benchmarks,
    "topologies": topologies,
    "robustness": robustness,
}


def build(name: str, params: Params) -> Table:
    """Return a table of params.yaml. Raises ValueError for an unknown one, FileNotFoundError if a run is not scored."""
    entry = find(name, params.tables, "table")
    table = BUILDERS[entry.kind](entry, params)
    return table._replace(notes=[*table.notes, *searched(entry.runs, params.tune)])


def read_metrics(study: str, runs: Sequence[str]) -> list[dict[str, Any]]:
    """Read the metrics of runs; `seeds` becomes their number. Raises FileNotFoundError naming what makes them."""
    rows = []
    for run in runs:
        path = REPORTS / study / METRICS / f"{run}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; `{scored_by(run)}` makes it")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        rows.append({**metrics, "seeds": len(metrics["seeds"]), "seed_list": ", ".join(metrics["seeds"])})
    return rows


def scored_by(run: str) -> str:
    """Return the command that trains and scores a run."""
    tuned = run.endswith(TUNED)
    return f"dvc repro evaluate-tuned@{run.removesuffix(TUNED)}" if tuned else f"dvc repro evaluate@{run}"


def read_rotations(study: str, run: str) -> pd.DataFrame:
    """Read the accuracy of each seed at each angle. Raises FileNotFoundError naming what makes it."""
    path = REPORTS / study / METRICS / f"{run}-robustness.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; `dvc repro robustness@{run}` makes it")
    return pd.read_csv(path)


def _published(row: dict[str, Any], params: Params, *, ensemble: bool = False) -> dict[str, Any]:
    """Return what is published about the run of a row, for single networks or for an ensemble."""
    entry = params.published.get(row["run"])
    if entry is None or entry.ensemble != ensemble:
        return {}
    return {
        "published_rloss": entry.rloss,
        "published_mloss": entry.mloss,
        "published_accuracy": entry.accuracy,
        "source": entry.source,
        "difference": row["accuracy_mean"] - entry.accuracy,
    }


def _with_protocol(row: dict[str, Any], entry: Benchmarks) -> dict[str, Any]:
    """Say in a row whose training the run follows, if the table does."""
    names = [name for name, followers in entry.protocols.items() if row["run"] in followers]
    return {**row, "model": ", ".join([*names, row["model"]])}


def _ensemble(row: dict[str, Any]) -> dict[str, Any]:
    if "ensemble" not in row:
        raise ValueError(f"{row['run']}: got metrics without an ensemble, expected those of at least two seeds")
    model = f"{row['model']} (ensemble of {row['ensemble']['size']})"
    kept = {key: row[key] for key in ("run", "dataset", "epochs")}
    return {**kept, "model": model, "seeds": 1, "accuracy_mean": row["ensemble"]["accuracy"]}


def _difference(row: dict[str, Any], base: dict[str, Any]) -> float:
    return float(row["accuracy_mean"] - base["accuracy_mean"])


def _in_order(name: str, members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs of a group by number, or, where the setting is none, the base and the others as listed."""
    values = [row["settings"][name] for row in members]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return members
    return sorted(members, key=lambda row: float(row["settings"][name]))


def protocol(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say what our numbers are: which networks, how many, scored on what."""
    seeds = " / ".join(dict.fromkeys(row["seed_list"] for row in rows))
    tests = ", ".join(dict.fromkeys(f"{row['test_images']:,} of {row['dataset']}" for row in rows))
    return [
        f"Ours: the network of the final epoch, mean ± sample standard deviation over n seeds ({seeds}), scored once "
        f"on the test images ({tests})."
    ]


def _about(rows: Sequence[dict[str, Any]], data: pd.DataFrame) -> list[str]:
    """Say what is to be known about published values and inexact copies of data, where there are any."""
    published = "published_accuracy" in data and data["published_accuracy"].notna().any()
    said = ["Published values are single results; the reference study's are the best epoch on the test set."]
    return (said if published else []) + [
        f"Data: {note}." for note in dict.fromkeys(f"{row['dataset']}: {row['note']}" for row in rows if row["note"])
    ]


def provenance(rows: Sequence[dict[str, Any]]) -> str:
    """Say where the networks were trained, and where to find the rest."""
    where = "; ".join(dict.fromkeys(f"{row['hardware']}, torch {row['torch']}, Python {row['python']}" for row in rows))
    return f"Trained on {where}; code, data and settings of each number are those in dvc.lock of the same commit."


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "TABLE", "a key of `tables` in params.yaml", argv)
    params = load_params()
    table = build(name, params)
    entry = params.tables[name]
    path = REPORTS / entry.study / TABLES / entry.kind
    notes = "".join(f"\n- {note}" for note in (*table.notes, table.provenance))
    caption = f"{entry.title}. {' '.join(table.notes)}"
    write_whole(path.with_suffix(".csv"), table.data.to_csv(index=False, lineterminator="\n"))
    write_whole(path.with_suffix(".md"), markdown(table.cells) + notes + "\n")
    write_whole(path.with_suffix(".tex"), latex(table.cells, caption, f"tab:{name}", [table.provenance]))
    print(markdown(table.cells))


if __name__ == "__main__":
    run_stage(main)
