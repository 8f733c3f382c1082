"""What is drawn: the networks of one run and its test images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.config import Pairing, load_params
from pipeline.data import Prepared
from pipeline.outputs import MODELS, model_files

if TYPE_CHECKING:
    from capsnet.model import CapsNet


class Subject(NamedTuple):
    """A trained run, how pictures call it, and test images on its device."""

    run: str
    label: str
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
    def test_pairs(self) -> Pairing:
        """The pairs of test images that the run is scored on, if it separates pairs."""
        return load_params().test_pairs

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the first seed was trained with."""
        from capsnet.checkpoint import read_facts

        settings: dict[str, Any] = read_facts(next(iter(self.models.values())))["settings"]
        return settings

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
    def labels(self) -> np.ndarray:
        """The true classes of the test images."""
        return self.test.labels.cpu().numpy()

    def named(self, label: int) -> str:
        """Return the name of a class."""
        return self.test.manifest.class_names[label]
