"""What is drawn: the networks of one run and its test images."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.runtime.paths import DECODER, METRICS, MODELS, PRIMARY, REPORTS
from pipeline.runtime.prepared import Prepared
from pipeline.runtime.weights import PUBLISHED, models_of

if TYPE_CHECKING:
    from capsnet.evaluation.recognition import Scores
    from capsnet.explain.primary import PrimaryDecoder
    from capsnet.networks.capsnet import CapsNet


NOTHING: Mapping[str, float] = MappingProxyType({})


class Subject(NamedTuple):
    """A trained run, how pictures call it, and test images on its device."""

    run: str
    label: str
    study: str
    test: Prepared
    reported: Mapping[str, float] = NOTHING  # test scores that others published, by their name

    @property
    def models(self) -> dict[int, Path]:
        """The model files of the run, by seed: those trained here, or else the published ones."""
        return models_of(self.run)

    @property
    def published_files(self) -> list[Path]:
        """Those of the model files that are published ones."""
        return [path for path in self.models.values() if path.parent == PUBLISHED]

    @property
    def model(self) -> "CapsNet":
        """The network of the first seed, on the device of the test images."""
        from capsnet.networks.saved import load

        return load(next(iter(self.models.values()))).to(self.test.images.device)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the first seed was trained with."""
        from capsnet.networks.saved import read_settings

        return read_settings(next(iter(self.models.values())))

    def model_with_decoder(self, picture: str) -> "CapsNet":
        """Return `model` for a picture of reconstructions. Raises ValueError naming the run if it has no decoder."""
        model = self.model
        if model.decoder is None:
            raise ValueError(f"{picture}: {self.run}: got a network without a decoder, expected one with")
        return model

    @property
    def history(self) -> pd.DataFrame:
        """What training gave: a row a seed and epoch."""
        path = REPORTS / self.study / METRICS / f"{self.run}-history.csv"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; `dvc repro evaluate@{self.run}` makes it")
        return pd.read_csv(path)

    @property
    def reported_and_ours(self) -> dict[str, tuple[float, float]]:
        """Each test score that others report for the run, and ours, the mean over the seeds, after it: by its name."""
        if not self.reported:
            return {}
        path = REPORTS / self.study / METRICS / f"{self.run}.json"
        ours = json.loads(path.read_text(encoding="utf-8"))
        return {key: (value, ours[f"{key}_mean"]) for key, value in self.reported.items() if f"{key}_mean" in ours}

    @property
    def confusion(self) -> pd.DataFrame:
        """What `evaluate` counted: a row a seed, true class and predicted class."""
        return pd.read_csv(REPORTS / self.study / METRICS / f"{self.run}-confusion.csv")

    @property
    def scores(self) -> "dict[int, Scores]":
        """What each seed makes of the test images."""
        from capsnet.evaluation.recognition import evaluate
        from capsnet.networks.saved import load

        images, labels = self.test.images, self.test.labels
        return {seed: evaluate(load(path).to(images.device), images, labels) for seed, path in self.models.items()}

    @property
    def primary_decoder(self) -> "PrimaryDecoder":
        """The decoder of the first seed's primary capsules, on the device of the test images."""
        from capsnet.explain.primary import load_decoder

        path = self.primary_path
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; {self.primary_command} makes it")
        return load_decoder(path).to(self.test.images.device)

    @property
    def primary_path(self) -> Path:
        """Where the decoder of primary capsules lies, if there is one."""
        return MODELS / (self.test.manifest.dataset + PRIMARY) / DECODER

    @property
    def primary_command(self) -> str:
        """The command that makes it, quoted."""
        return f"`dvc repro decode@{self.test.manifest.dataset}`"

    @property
    def labels(self) -> np.ndarray:
        """The true classes of the test images."""
        return self.test.labels.cpu().numpy()

    def named(self, label: int) -> str:
        """Return the name of a class."""
        return self.test.manifest.class_names[label]
