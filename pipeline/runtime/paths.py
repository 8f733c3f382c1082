"""The names of the declared files, and rows as the text of a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

MODELS = Path("models")
REPORTS = Path("reports")
METRICS = "metrics"
TUNING = "tuning"
TABLES = "tables"
FIGURES = "figures"
TUNED = "-tuned"  # <search>-tuned is the run that is trained with the best values of a search
PRIMARY = "-primary"  # models/<dataset>-primary/ has the decoder of primary capsules
DECODER = "decoder.safetensors"
SCORES = ("accuracy", "rloss", "mloss")  # of a network on the test set, by their keys in metrics


def model_name(seed: int) -> str:
    """Return the file name of a seed's model in the folder of its run."""
    return f"seed-{seed}.safetensors"


def state_name(seed: int) -> str:
    """Return the file name of a seed's training state."""
    return f"seed-{seed}.state.safetensors"


def model_files(folder: Path) -> dict[int, Path]:
    """Return the models in a run's folder by seed. Raises FileNotFoundError naming the command that trains them."""
    if not (models := models_in(folder)):
        run = folder.name
        stage = f"train-tuned@{run.removesuffix(TUNED)}" if run.endswith(TUNED) else f"train@{run}"
        raise FileNotFoundError(f"{folder}: no trained models; `dvc repro {stage}` makes them")
    return models


def models_in(folder: Path) -> dict[int, Path]:
    """Return the models in a folder by seed; none if there is no such folder."""
    seeds = sorted(int(path.stem[5:]) for path in folder.glob("seed-*.safetensors") if path.stem[5:].isdigit())
    return {seed: folder / model_name(seed) for seed in seeds}


def rotated_path(study: str, run: str) -> Path:
    """Return the path of the confusion counts of a run on rotated test images; `rotate` writes them."""
    return REPORTS / study / METRICS / f"{run}-rotated-confusion.csv"


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with the same keys as CSV; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
