"""What is drawn: the networks of one run and its test images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.data import Prepared
from pipeline.outputs import DECODER, METRICS, MODELS, PRIMARY, REPORTS, model_files

if TYPE_CHECKING:
    from capsnet.evaluation import Scores
    from capsnet.explain.primary import PrimaryDecoder
    from capsnet.model import CapsNet


class Subject(NamedTuple):
    """A trained run, how pictures call it, and test images on its device."""

    run: str
    label: str
    study: str
    test: Prepared

    @property
    def models(self) -> dict[int, Path]:
        """The model files of the run, by seed."""
        return model_files(MODELS / self.run)

    @property
    def model(self) -> "CapsNet":
        """The network of the first seed, on the device of the test images."""
        from capsnet.checkpoint import load

        return load(next(iter(self.models.values()))).to(self.test.images.device)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the first seed was trained with."""
        from capsnet.checkpoint import read_settings

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
        return pd.read_csv(MODELS / self.run / "history.csv")

    @property
    def confusion(self) -> pd.DataFrame:
        """What `evaluate` counted: a row a seed, true class and predicted class."""
        return pd.read_csv(REPORTS / self.study / METRICS / f"{self.run}-confusion.csv")

    @property
    def scores(self) -> "dict[int, Scores]":
        """What each seed makes of the test images."""
        from capsnet.checkpoint import load
        from capsnet.evaluation import evaluate

        images, labels = self.test.images, self.test.labels
        return {seed: evaluate(load(path).to(images.device), images, labels) for seed, path in self.models.items()}

    @property
    def primary_decoder(self) -> "PrimaryDecoder":
        """The decoder of the first seed's primary capsules, on the device of the test images."""
        from capsnet.explain.primary import load_decoder

        dataset = self.test.manifest.dataset
        path = MODELS / (dataset + PRIMARY) / DECODER
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; `dvc repro primary@{dataset}` makes it")
        return load_decoder(path).to(self.test.images.device)

    @property
    def labels(self) -> np.ndarray:
        """The true classes of the test images."""
        return self.test.labels.cpu().numpy()

    def named(self, label: int) -> str:
        """Return the name of a class."""
        return self.test.manifest.class_names[label]
