"""Weights that lie in git: published/<name>.safetensors, and what that file is in published/<name>.json.

They stand in for the models of a run where nobody trained it: for pictures, predictions and the explorer, never for
scores.
"""

import json
from pathlib import Path

from pipeline.outputs import MODELS, model_files, models_in

PUBLISHED = Path("published")


def published_models(run: str) -> dict[int, Path]:
    """Return the published models of a run by seed, if there are any. Raises ValueError for a damaged manifest."""
    found = {}
    for path in sorted(PUBLISHED.glob("*.json")):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            of_run, seed = manifest["run"], int(manifest["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: got {error!r}, expected a manifest with run and seed") from error
        weights = path.with_suffix(".safetensors")
        if of_run == run and weights.is_file():
            found[seed] = weights
    return dict(sorted(found.items()))


def models_of(run: str) -> dict[int, Path]:
    """Return the models of a run by seed: those trained here, or else the published ones.

    Raises FileNotFoundError naming the command that trains them.
    """
    return models_in(MODELS / run) or published_models(run) or model_files(MODELS / run)


def can_be_drawn(run: str) -> bool:
    """Say whether there is a network of the run, trained here or published."""
    return bool(models_in(MODELS / run) or published_models(run))
