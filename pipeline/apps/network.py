"""A trained network with the facts about its data, and how a user's own picture becomes an image of that data."""

import json
import re
import reprlib
import statistics
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL.Image import Image

from capsnet.data.picture import WRITINGS, FoundDigit, digits, scene
from pipeline.runtime.paths import MODELS, model_files, models_in
from pipeline.runtime.prepared import read_manifest
from pipeline.runtime.weights import PUBLISHED, published_models, published_runs
from pipeline.settings.params import PARAMS, load_params

if TYPE_CHECKING:
    from capsnet.networks.capsnet import CapsNet

SUFFIX = ".safetensors"
# How a user's own picture becomes an image of the data.
DIGIT = "digit"
PICTURE = "picture"
TREATMENTS = (DIGIT, PICTURE)


class Network(NamedTuple):
    """A network on the CPU, and the `size` of the images that it is given, in pixels a side.

    It sees their centre. A network that separates pairs is given its whole field, which is larger than the images of
    its data.
    """

    path: Path
    model: "CapsNet"
    dataset: str  # empty if the file does not name it
    class_names: tuple[str, ...]
    size: int

    @property
    def treatment(self) -> str:
        """How a user's own pictures are treated: as digits if the network's data are digits."""
        return DIGIT if self.dataset in WRITINGS else PICTURE

    def images(self, picture: Image, treatment: str) -> list[FoundDigit]:
        """Return the digits in a picture, or the middle of the picture, each like the images of the data.

        A blank picture has no digit.
        """
        channels = self.model.config.channels
        if treatment == PICTURE:
            return [FoundDigit(scene(picture, self.size, channels), (0, 0, *picture.size))]
        if channels != 1:
            raise ValueError(f"--as digit: {self.path} sees {channels} channels, expected 1")
        return digits(picture, WRITINGS.get(self.dataset, WRITINGS["mnist"]), self.size)


def find_model(named: str, seed: int | None) -> Path:
    """Return the model file that the user named, or the file of a seed in the run or folder that the user named.

    Without a seed it is the first one. A run that is not trained here is looked up in published/.
    """
    if named.endswith(SUFFIX):
        if seed is not None:
            raise ValueError(f"--seed: {named} is a file already, expected the name of a run")
        return Path(named)
    files = _models(named)
    if seed is not None and seed not in files:
        raise ValueError(f"--seed: got {seed}, expected one of {', '.join(map(str, files))} for {named}")
    return files[next(iter(files)) if seed is None else seed]


def best_published(dataset: str = "") -> list[str]:
    """Return the runs in published/, or those of one data set, by the mean accuracy of their files, best first.

    The order decides what is shown first and what reads a picture; no result depends on it. Raises ValueError for a
    damaged manifest.
    """
    manifests = {run: [*map(read_publication, published_models(run).values())] for run in published_runs()}
    means = {
        run: statistics.fmean(float(each["accuracy"]) for each in of_run)
        for run, of_run in manifests.items()
        if not dataset or of_run[0]["dataset"] == dataset
    }
    return sorted(means, key=means.__getitem__, reverse=True)


def best_of_published() -> str:
    """Return the best run in published/. Raises ValueError if there is none."""
    if not (runs := best_published()):
        raise ValueError(f"RUN: missing, and {PUBLISHED}/ has no network; expected the name of a run")
    return runs[0]


def read_publication(path: Path) -> dict[str, Any]:
    """Return the manifest of a published model file. Raises ValueError if it lacks data set or accuracy."""
    manifest = path.with_suffix(".json")
    try:
        values = json.loads(manifest.read_text(encoding="utf-8"))
        return {**values, "dataset": str(values["dataset"]), "accuracy": float(values["accuracy"])}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{manifest}: got {error!r}, expected a manifest with dataset and accuracy") from error


def trained_runs() -> list[str]:
    """Return the runs with models in models/, sorted by name."""
    return sorted(folder.name for folder in MODELS.glob("*") if models_in(folder))


def known_runs() -> list[str]:
    """Return the runs of params.yaml, tuned ones too; none where there is no such file."""
    return [*load_params().studies_of_runs] if PARAMS.is_file() else []


def names_network(word: str) -> bool:
    """Tell whether a word on the command line names a network. Otherwise it may be a picture."""
    return word in known_runs() or word.endswith(SUFFIX) or bool(_models_at_hand(word))


def like_a_network(word: str) -> list[str]:
    """Return the networks that a word may mean, nearest first: runs that are trained, published, or in params.yaml."""
    at_hand = [*best_published(), *trained_runs()]
    return get_close_matches(word, dict.fromkeys([*at_hand, *known_runs()])) or at_hand[:1]


def _models_at_hand(named: str) -> dict[int, Path]:
    return models_in(MODELS / named) or models_in(Path(named)) or published_models(named)


def _models(named: str) -> dict[int, Path]:
    """Return the models of a run, or in a folder, by seed.

    Raises FileNotFoundError naming the command that trains a run of params.yaml; for any other name, the runs that are
    trained.
    """
    if models := _models_at_hand(named):
        return models
    if named in known_runs():
        return model_files(MODELS / named)
    trained = ", ".join(trained_runs()) or "none yet"
    published = ", ".join(published_runs())
    also = f", or in {PUBLISHED}/: {published}" if published else ""
    raise FileNotFoundError(
        f"RUN: got {named!r}, expected a {SUFFIX} file, a folder of them, or a run in {MODELS}/: {trained}{also}"
    )


def _trained_on(path: Path, facts: Mapping[str, Any]) -> tuple[str, int]:
    """Return the data set that a model was trained on (empty if its file does not name it), and the crop of its run."""
    match facts.get("settings", {"dataset": "", "crop": 0}):
        case {"dataset": str(dataset), "crop": int(crop)} if re.fullmatch("[A-Za-z0-9_-]*", dataset) and crop >= 0:
            return dataset, crop
        case other:
            got = reprlib.repr(other)
    raise ValueError(f"{path}: settings: got {got}, expected those of a run, with its dataset and crop")


def open_network(path: Path) -> Network:
    """Read a model file, and the manifest of its data if data/<dataset>.json is there."""
    from capsnet.networks.saved import load, read_facts

    model = load(path)
    dataset, crop = _trained_on(path, read_facts(path))
    size = model.config.image_size
    names = tuple(map(str, range(model.config.classes)))
    try:
        manifest = read_manifest(dataset)
    except FileNotFoundError as error:
        if crop:
            print(f"warning: {error}; pictures are scaled to the {size} pixels that the network sees", file=sys.stderr)
        return Network(path, model, dataset, names, size)
    if manifest.classes != model.config.classes:
        raise ValueError(f"{path}: {model.config.classes} classes, but data/{dataset}.json has {manifest.classes}")
    return Network(path, model, dataset, manifest.class_names, max(manifest.image_size, size))
