"""The answers of a network to pictures: one for each digit that was found."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from capsnet.data.picture import FoundDigit
from capsnet.sources.folder import open_picture
from pipeline.apps.doubt import doubt, relative_error
from pipeline.apps.network import Network

BATCH = 256


class Answer(NamedTuple):
    """The network's answer to one image that was found in a picture."""

    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture
    lengths: list[float]  # of the class capsules
    seen: np.ndarray  # (C, H, W), 0 to 1: what the network was given
    reconstruction: np.ndarray | None  # (C, H, W), 0 to 1
    doubt: str  # why the answer is unsure; empty if it is sure

    @property
    def best(self) -> int:
        """The class with the longest capsule."""
        return self.lengths.index(max(self.lengths))

    def ranked(self, names: Sequence[str]) -> list[tuple[str, float]]:
        """Return names and lengths of all classes, the longest first."""
        return sorted(zip(names, self.lengths, strict=True), key=lambda named: -named[1])


class Prediction(NamedTuple):
    """The answers to one picture: one for each digit that was found, from left to right."""

    path: Path
    answers: list[Answer]

    @property
    def doubt(self) -> str:
        """Why the picture has no sure answer; empty if it has one."""
        if not self.answers:
            return "no digit found"
        if len(self.answers) > 1:
            return f"{len(self.answers)} digits found, expected one"
        return self.answers[0].doubt


def predict(
    network: Network, paths: Sequence[Path], treatment: str, say: Callable[[str, Path, str], None]
) -> Iterator[Prediction]:
    """Yield a prediction for each picture in turn.

    Args:
        network: The network.
        paths: The files of the pictures.
        treatment: One of TREATMENTS.
        say: Called with "error" or "warning", the file and a message: of an error for a file that cannot be read.
    """
    for start in range(0, len(paths), BATCH):
        pictures: dict[Path, list[FoundDigit]] = {}
        for path in paths[start : start + BATCH]:
            try:
                picture, warnings = open_picture(path)
                pictures[path] = network.images(picture, treatment)
            except ValueError as error:
                say("error", path, str(error))
                continue
            for warning in warnings:
                say("warning", path, warning)
        answers = answers_to(network, [found for each in pictures.values() for found in each])
        for path, each in pictures.items():
            yield Prediction(path, list(islice(answers, len(each))))


def answers_to(network: Network, found: Sequence[FoundDigit]) -> Iterator[Answer]:
    """Yield the network's answer to each image."""
    import torch

    from capsnet.evaluation.recognition import recognise

    device = next(network.model.parameters()).device
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        images = torch.from_numpy(np.stack([each.image for each in batch])).to(device)
        pixels, output = recognise(network.model, images)
        if not output.lengths.isfinite().all():
            raise ValueError(f"{network.path}: got lengths that are not finite, expected 0 to 1")
        seen = pixels.cpu().numpy()
        decoded = None if output.reconstruction is None else output.reconstruction.cpu().numpy()
        for place, lengths in enumerate(output.lengths.tolist()):
            drawn = None if decoded is None else decoded[place]
            error = None if drawn is None else relative_error(seen[place], drawn)
            why = doubt(network.dataset, max(lengths), error)
            yield Answer(batch[place].box, lengths, seen[place], drawn, why)
