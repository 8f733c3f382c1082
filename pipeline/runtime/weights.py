"""Published weights: our models in git, published/<name>.safetensors, with their manifest in published/<name>.json.

They stand in for the models of a run that is not trained here, in figures, predictions and the explorer. They are never
scored in its place.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.runtime.paths import MODELS, model_files, models_in

PUBLISHED = Path("published")


def published_models(run: str) -> dict[int, Path]:
    """Return the published models of a run by seed. Raises ValueError for a damaged manifest."""
    return dict(sorted((seed, path) for name, seed, path in _published() if name == run))


def published_runs() -> list[str]:
    """Return the runs with a published model. Raises ValueError for a damaged manifest."""
    return sorted({name for name, _, _ in _published()})


def _published() -> Iterator[tuple[str, int, Path]]:
    """Yield the run, the seed and the file of each published model."""
    for path in sorted(PUBLISHED.glob("*.json")):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            run, seed = str(manifest["run"]), int(manifest["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: got {error!r}, expected a manifest with run and seed") from error
        if path.with_suffix(".safetensors").is_file():
            yield run, seed, path.with_suffix(".safetensors")


def models_of(run: str) -> dict[int, Path]:
    """Return the models of a run by seed: those in models/, otherwise those in published/.

    Raises FileNotFoundError naming the command that trains them.
    """
    return models_in(MODELS / run) or published_models(run) or model_files(MODELS / run)


def can_be_drawn(run: str) -> bool:
    """Tell whether the run has a model, in models/ or in published/."""
    return bool(models_in(MODELS / run) or published_models(run))
