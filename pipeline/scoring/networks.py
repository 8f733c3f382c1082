"""The networks of one run with its test set on the device, and their scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from capsnet.evaluation.recognition import Scores, evaluate
from capsnet.evaluation.separation import evaluate_pairs, fixed_pairs
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.saved import load, read_settings
from pipeline.runtime.device import configure_torch
from pipeline.runtime.paths import model_files
from pipeline.runtime.prepared import Prepared, read_prepared
from pipeline.settings.params import recorded_run
from pipeline.settings.runs import Run
from pipeline.settings.sections import Pairing


class OpenedRun(NamedTuple):
    """A run as its networks were trained, with its test set on the device."""

    run: Run
    data: Prepared


class SeedScores(NamedTuple):
    """The scores of each seed, and the true classes: (N,) of images, (N, 2) of pairs."""

    seeds: dict[int, Scores]
    labels: Tensor


def open_run(model: Path) -> OpenedRun:
    """Read the test set of a model's run, with the settings in the model's file."""
    run = recorded_run(read_settings(model), str(model))
    hardware = configure_torch(run.device, run.threads)
    return OpenedRun(run, read_prepared(run.dataset, "test", hardware.device))


def load_networks(files: Mapping[int, Path], data: Prepared) -> dict[int, CapsNet]:
    """Load networks by seed onto the device of the data."""
    return {seed: load(path).to(data.images.device) for seed, path in files.items()}


def open_networks(folder: Path) -> tuple[OpenedRun, dict[int, CapsNet]]:
    """Return the test set and the networks, by seed, of the run whose models are in a folder."""
    files = model_files(folder)
    opened = open_run(next(iter(files.values())))
    return opened, load_networks(files, opened.data)


def score(networks: Mapping[int, CapsNet], opened: OpenedRun, pairing: Pairing) -> SeedScores:
    """Score networks by seed on the test images; those that separate, on pairs of test images."""
    images, labels = opened.data.images, opened.data.labels
    if opened.run.task != "separate":
        return SeedScores({seed: evaluate(network, images, labels) for seed, network in networks.items()}, labels)
    first, *_ = networks.values()
    pairs = fixed_pairs(first, images, labels, **pairing.model_dump())
    seeds = {seed: evaluate_pairs(network, images, labels, pairs) for seed, network in networks.items()}
    return SeedScores(seeds, labels[pairs.places])
