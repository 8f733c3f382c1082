"""The study of the tiny project with results made by hand: what its page is made of, without any training."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tiny_project import TINY, VARIANTS, tiny_params, write_params

from pipeline.settings.params import Params, load_params
from pipeline.settings.runs import RUNS

FOLDER = Path("reports/toy")


PAIRS = {"number": 2400, "image_accuracy_mean": 84.25}


def write_metrics(
    name: str,
    accuracies: list[float],
    ensemble: float | None = None,
    pairs: dict[str, float] | None = None,
    **settings: Any,
) -> None:
    """Write what `evaluate` says about a run."""
    metrics: dict[str, Any] = {
        "run": name,
        "model": RUNS[TINY["network"]].model_validate(TINY | settings).label,
        "dataset": "squares",
        "note": "made & 100 % by hand",
        "test_images": 1200,
        "parameters": 12345,
        "decoder_parameters": 345,
        "epochs": 2,
        "settings": TINY | settings,
        "seeds": {str(seed): {"accuracy": accuracy} for seed, accuracy in enumerate(accuracies)},
        "hardware": "a slide rule",
        "python": "3",
        "torch": "2",
        "rloss_mean": 20.0,
        "mloss_mean": 0.005,
        "accuracy_mean": float(np.mean(accuracies)),
    }
    if len(accuracies) > 1:
        metrics |= {"rloss_std": 1.0, "mloss_std": 0.001, "accuracy_std": float(np.std(accuracies, ddof=1))}
    if ensemble is not None:
        metrics["ensemble"] = {"size": len(accuracies), "accuracy": ensemble}
    if pairs is not None:
        metrics["pairs"] = pairs
    path = FOLDER / "metrics" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics))


def write_rotations(name: str, accuracies: dict[int, tuple[float, ...]]) -> None:
    rows = [
        {"seed": seed, "degrees": degrees, "accuracy": accuracy}
        for degrees, of_seeds in accuracies.items()
        for seed, accuracy in enumerate(of_seeds)
    ]
    pd.DataFrame(rows).to_csv(FOLDER / "metrics" / f"{name}-robustness.csv", index=False)


def write_results() -> None:
    """Write metrics, tables, pictures (one of them in motion) and a search of the tiny project."""
    write_metrics("toy-fc", [97.0, 99.0], ensemble=99.25)
    write_metrics("toy-fc_bn", [98.0, 99.0], batch_norm=True)
    write_metrics("toy-deconv", [96.0, 97.0], decoder="deconv")
    write_metrics("toy-deconv_bn", [99.0, 99.5], decoder="deconv", batch_norm=True)
    write_metrics("toy-tuned", [97.0, 97.0], lr=0.05)
    write_metrics("toy-pairs", [70.0, 74.0], pairs=PAIRS, task="separate")
    write_rotations("toy-deconv_bn", {0: (99.0, 99.5), 90: (30.0, 20.0), 180: (45.0, 40.0), 270: (25.0, 20.0)})
    write_rotations("toy-fc", {0: (97.0, 99.0), 90: (20.0, 10.0), 180: (40.0, 50.0), 270: (15.0, 15.0)})
    for name in tiny_params()["tables"]:
        importlib.import_module("pipeline.tabulate").main([name])
    write_pictures("toy-decoders", [*VARIANTS], {"curves": "They fall."})
    write_pictures("squares", ["toy-deconv_bn"], {"reconstructions": "They resemble.", "rotation": "It turns."})
    write_pictures("toy-pairs", ["toy-pairs"], {"curves": "They fall.", "pairs": "They are taken apart."})
    frames = [Image.new("L", (120, 40), grey) for grey in (0, 255)]
    frames[0].save(FOLDER / "figures/squares/rotation.gif", save_all=True, append_images=frames[1:], loop=0)
    write_search("toy", [(0.0005, 0.01, 90.0), (0.001, 0.05, 95.0), (0.002, 0.02, 92.0), (0.01, 0.1, None)])


def with_entry(kind: str, **changes: Any) -> Params:
    """Return the tiny project's parameters with changes to a table."""
    values = tiny_params()
    values["tables"][f"toy-{kind}"] |= changes
    write_params(Path(), values)
    return load_params()


def write_pictures(name: str, runs: list[str], captions: dict[str, str], title: str = "Seen") -> None:
    """Write what a stage that draws leaves: an index, and of each picture a wide PNG and a PDF."""
    folder = FOLDER / "figures" / name
    folder.mkdir(parents=True)
    for number, picture in enumerate(captions):
        Image.new("RGB", (1200, 300), (40 * number, 80, 120)).save(folder / f"{picture}.png")
        (folder / f"{picture}.pdf").write_bytes(b"%PDF")
    figures = [
        {"name": picture, "title": title, "finding": f"Found in {picture}.", "caption": caption}
        for picture, caption in captions.items()
    ]
    told = {"dataset": "squares", "note": "drawn by hand", "runs": runs, "figures": figures}
    (folder / "figures.json").write_text(json.dumps(told))


def write_search(name: str, trials: list[tuple[float, float, float | None]]) -> None:
    """Write what a search leaves, of alpha, lr and validation accuracy of each trial; None for one given up."""
    folder = FOLDER / "tuning" / name
    folder.mkdir(parents=True)
    rows = [
        {
            "trial": n,
            "state": "pruned" if value is None else "complete",
            "alpha": alpha,
            "lr": lr,
            "val_accuracy": value,
        }
        for n, (alpha, lr, value) in enumerate(trials)
    ]
    pd.DataFrame(rows).to_csv(folder / "trials.csv", index=False)
    best = max((row for row in rows if row["val_accuracy"]), key=lambda row: row["val_accuracy"])
    chosen = {key: best[key] for key in ("alpha", "lr", "val_accuracy", "trial")} | {"trials": len(rows)}
    chosen |= {"tied": [best["trial"]], "decided_by": "val_accuracy"}
    (folder / "best.yaml").write_text("".join(f"{key}: {value!r}\n" for key, value in chosen.items()))
    for plot in ("history", "parallel", "contour", "importance"):
        Image.new("RGB", (300, 200), "teal").save(folder / f"{plot}.png")
