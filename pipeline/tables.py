"""Assemble a study's tables: reports/<study>/tables/{decoders,benchmarks}.{csv,md}.

    python -m pipeline.tables digits

Published values stand beside ours; every accuracy is in percent, every ± a sample standard deviation over the seeds.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from capsnet.files import write_whole
from pipeline.config import Params, find, load_params
from pipeline.outputs import METRICS, REPORTS, TABLES
from pipeline.stage import name_argument, run_stage

DECODERS = [
    "run", "model", "parameters", "decoder_parameters", "epochs", "seeds", "rloss_mean", "rloss_std", "mloss_mean",
    "mloss_std", "accuracy_mean", "accuracy_std", "published_rloss", "published_mloss", "published_accuracy",
]  # fmt: skip
BENCHMARKS = [
    "run", "model", "dataset", "epochs", "seeds", "accuracy_mean", "accuracy_std", "published_accuracy", "source",
]  # fmt: skip


def read_metrics(study: str, runs: Sequence[str]) -> list[dict[str, Any]]:
    """Read the metrics of runs; `seeds` becomes their number. Raises FileNotFoundError naming what makes them."""
    rows = []
    for run in runs:
        path = REPORTS / study / METRICS / f"{run}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; `dvc repro evaluate@{run}` makes it")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        rows.append({**metrics, "seeds": len(metrics["seeds"]), "seed_list": ", ".join(metrics["seeds"])})
    return rows


def decoders_table(study: str, params: Params) -> pd.DataFrame:
    """Return the comparison of the decoders, one row a run."""
    rows = read_metrics(study, params.studies[study].decoders)
    return pd.DataFrame([{**row, **_published(row["run"], params)} for row in rows]).reindex(columns=DECODERS)


def benchmarks_table(study: str, params: Params) -> pd.DataFrame:
    """Return the accuracies beside the published ones: our runs first, then what others report."""
    rows = read_metrics(study, params.studies[study].benchmarks)
    ours = [{**row, **_published(row["run"], params)} for row in rows]
    others = [
        {"model": row.model, "dataset": row.dataset, "published_accuracy": row.accuracy, "source": row.source}
        for row in params.studies[study].published
    ]
    table = pd.DataFrame(ours + others).reindex(columns=BENCHMARKS)
    return table.astype({"epochs": "Int64", "seeds": "Int64"})


def _published(run: str, params: Params) -> dict[str, Any]:
    if run not in params.published:
        return {}
    entry = params.published[run]
    return {
        "published_rloss": entry.rloss,
        "published_mloss": entry.mloss,
        "published_accuracy": entry.accuracy,
        "source": entry.source,
    }


def spread(mean: float, std: float, digits: int) -> str:
    """Return "mean ± std", the mean alone for a single seed, and nothing for nothing."""
    if pd.isna(mean):
        return ""
    return f"{mean:.{digits}f}" + ("" if pd.isna(std) else f" ± {std:.{digits}f}")


def markdown(table: pd.DataFrame) -> str:
    """Return the table as people read it: means with their spread, empty columns left out."""
    shown = pd.DataFrame({"Run": table["run"], "Model": table["model"]})
    if "dataset" in table:
        shown["Data"] = table["dataset"]
    for key, title, digits in (("accuracy", "Accuracy (%)", 2), ("rloss", "RLoss", 2), ("mloss", "MLoss", 4)):
        if f"{key}_mean" in table:
            pairs = zip(table[f"{key}_mean"], table[f"{key}_std"], strict=True)
            shown[title] = [spread(mean, std, digits) for mean, std in pairs]
        if f"published_{key}" in table:
            shown[f"{title}, published"] = [spread(value, float("nan"), digits) for value in table[f"published_{key}"]]
    shown["n"], shown["Epochs"] = table["seeds"], table["epochs"]
    for column, title in (("decoder_parameters", "Decoder parameters"), ("parameters", "Parameters")):
        if column in table:
            shown[title] = table[column].map("{:,}".format)
    if "source" in table:
        shown["Source"] = table["source"]
    shown = shown.astype(object).where(shown.notna(), "").astype(str)
    shown = shown[[column for column in shown if (shown[column] != "").any()]]
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + " --- |" * len(shown.columns)]
    lines += ["| " + " | ".join(row) + " |" for row in shown.itertuples(index=False)]
    return "\n".join(lines) + "\n"


def footnotes(study: str, params: Params) -> str:
    """Return what must be known to read the study's tables: protocol, n, hardware, inexact copies of data."""
    rows = read_metrics(study, list(dict.fromkeys(params.studies[study].decoders + params.studies[study].benchmarks)))
    seeds = " / ".join(dict.fromkeys(row["seed_list"] for row in rows))
    tests = ", ".join(dict.fromkeys(f"{row['test_images']:,} of {row['dataset']}" for row in rows))
    where = "; ".join(dict.fromkeys(f"{row['hardware']}, torch {row['torch']}, Python {row['python']}" for row in rows))
    notes = [
        f"Ours: the network of the final epoch, mean ± sample standard deviation over n seeds ({seeds}), scored once "
        f"on the test images ({tests}).",
        "RLoss: squared error summed over an image, decoder fed with the predicted class; MLoss: margin loss of an "
        "image.",
        f"Trained on {where}; code, data and settings of each number are those in dvc.lock of the same commit.",
    ]
    if params.studies[study].published or any(row["run"] in params.published for row in rows):
        notes.append("Published values are single runs; the reference study's are the best epoch on the test set.")
    notes += [
        f"Data: {note}." for note in dict.fromkeys(f"{row['dataset']}: {row['note']}" for row in rows if row["note"])
    ]
    return "".join(f"\n- {note}" for note in notes) + "\n"


BUILDERS: dict[str, Callable[[str, Params], pd.DataFrame]] = {
    "decoders": decoders_table,
    "benchmarks": benchmarks_table,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    name = name_argument(__doc__, "STUDY", "a key of `studies` in params.yaml", argv)
    params = load_params()
    find(name, params.studies, "study")
    folder = REPORTS / name / TABLES
    for title, build in BUILDERS.items():
        table = build(name, params)
        write_whole(folder / f"{title}.csv", table.to_csv(index=False, lineterminator="\n"))
        write_whole(folder / f"{title}.md", markdown(table) + footnotes(name, params))
        print(markdown(table))


if __name__ == "__main__":
    run_stage(main)
