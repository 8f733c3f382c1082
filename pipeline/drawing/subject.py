"""The subject of figures: the networks of one run and its test images. Everything here is read once."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.runtime.made_files import existing
from pipeline.runtime.paths import DECODER, METRICS, MODELS, PRIMARY, REPORTS, rotated_path
from pipeline.runtime.prepared import Prepared
from pipeline.runtime.weights import PUBLISHED

if TYPE_CHECKING:
    from capsnet.evaluation.recognition import Scores
    from capsnet.explain.primary import PrimaryDecoder
    from capsnet.networks.capsnet import CapsNet

NONE: Mapping[Any, Any] = MappingProxyType({})


class Record(NamedTuple):
    """A run of which only what was recorded is needed, no network."""

    run: str
    label: str  # its name in the figures
    study: str
    reported: Mapping[str, tuple[float, float]] = NONE  # test scores by name: what others report, and our mean


class Subject(NamedTuple):
    """A trained run, its name in the figures, and test images on its device."""

    run: str
    label: str
    study: str
    test: Prepared
    labels: np.ndarray  # the true classes of the test images
    models: Mapping[int, Path]  # model files by seed: in models/, otherwise in published/
    network: "CapsNet"  # of the first seed, on the device of the test images
    settings: Mapping[str, Any]  # that it was trained with
    reported: Mapping[str, tuple[float, float]] = NONE  # test scores by name: what others report, and our mean
    scores: "Mapping[int, Scores]" = NONE  # of each seed on the test images, if a figure needs them

    @property
    def published_files(self) -> list[Path]:
        """The model files that are in published/."""
        return [path for path in self.models.values() if path.parent == PUBLISHED]

    def named(self, label: int) -> str:
        """Return the name of a class."""
        return self.test.manifest.class_names[label]


def with_decoder(subject: Subject, figure: str) -> "CapsNet":
    """Return the network of the first seed. Raises ValueError naming figure and run if it has no decoder."""
    if subject.network.decoder is None:
        raise ValueError(f"{figure}: {subject.run}: got a network without a decoder, expected one with")
    return subject.network


def score_networks(subject: Subject) -> "dict[int, Scores]":
    """Score the network of every seed on the test images."""
    from capsnet.evaluation.recognition import evaluate
    from capsnet.networks.saved import load

    images, labels = subject.test.images, subject.test.labels
    return {seed: evaluate(load(path).to(images.device), images, labels) for seed, path in subject.models.items()}


def history_path(study: str, run: str) -> Path:
    """Return the path of the recorded losses and accuracies of a training."""
    return REPORTS / study / METRICS / f"{run}-history.csv"


def read_history(record: Record | Subject) -> pd.DataFrame:
    """Read losses and accuracies of the training, a row for each seed and epoch."""
    return pd.read_csv(existing(history_path(record.study, record.run), f"dvc repro evaluate@{record.run}"))


def read_confusion(subject: Subject) -> pd.DataFrame:
    """Read the counts of `evaluate`, a row for each seed, true class and predicted class."""
    path = REPORTS / subject.study / METRICS / f"{subject.run}-confusion.csv"
    return pd.read_csv(existing(path, f"dvc repro evaluate@{subject.run}"))


def read_rotated(subject: Subject) -> pd.DataFrame:
    """Read the counts of `rotate`: a row for each seed, angle, true class and predicted class that occurs."""
    return pd.read_csv(existing(rotated_path(subject.study, subject.run), f"dvc repro rotate@{subject.run}"))


def primary_path(dataset: str) -> Path:
    """Return the path of the decoder of primary capsules."""
    return MODELS / (dataset + PRIMARY) / DECODER


def load_primary_decoder(subject: Subject) -> "PrimaryDecoder":
    """Load the decoder of the first seed's primary capsules onto the device of the test images."""
    from capsnet.explain.primary import load_decoder

    dataset = subject.test.manifest.dataset
    path = existing(primary_path(dataset), f"dvc repro decode@{dataset}")
    return load_decoder(path).to(subject.test.images.device)
