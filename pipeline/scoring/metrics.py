"""The metrics of one run: what reports/<study>/metrics/ says about its networks and their scores."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from capsnet.evaluation.recognition import Scores, ensemble_accuracy
from capsnet.networks.capsnet import CapsNet
from pipeline.runtime.paths import SCORES, TUNED
from pipeline.scoring.networks import OpenedRun, open_networks, score
from pipeline.settings.sections import Pairing


class Metrics(NamedTuple):
    """The contents of <run>.json, and the rows of <run>-confusion.csv."""

    values: dict[str, Any]
    confusion: list[dict[str, int]]


def metrics_of_run(name: str, folder: Path, pairing: Pairing) -> Metrics:
    """Score the networks of all seeds in a folder, and describe them."""
    opened, networks = open_networks(folder)
    seeds, labels = score(networks, opened, pairing)
    more: dict[str, Any] = {}
    if len(seeds) > 1:
        accuracy = ensemble_accuracy([scores.lengths for scores in seeds.values()], labels)
        more["ensemble"] = {"size": len(seeds), "accuracy": accuracy}
    if opened.run.task == "separate":
        more["pairs"] = _of_pairs(seeds, len(labels))
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    first, *_ = networks.values()
    values = {**describe(name, opened, first), **summarise(seeds), **more, **environment}
    return Metrics(values, _confusion(seeds))


def describe(name: str, opened: OpenedRun, network: CapsNet) -> dict[str, Any]:
    """Return the facts about a run's networks that are not scores."""
    run, decoder = opened.run, network.decoder
    return {
        "run": name,
        "model": run.label + (", tuned" if name.endswith(TUNED) else ""),
        "dataset": run.dataset,
        "note": opened.data.manifest.note,
        "test_images": len(opened.data.labels),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "decoder_parameters": sum(parameter.numel() for parameter in decoder.parameters()) if decoder else 0,
        "epochs": run.epochs,
        "lr": run.lr,
        "alpha": run.alpha,
        "settings": run.model_dump(),
    }


def present_scores(scores: Scores) -> dict[str, float]:
    """Return the scores that a network has: one without a decoder has no reconstruction loss."""
    values = {key: getattr(scores, key) for key in SCORES}
    return {key: value for key, value in values.items() if value is not None}


def summarise(seeds: Mapping[int, Scores]) -> dict[str, Any]:
    """Return the scores of each seed, their mean, and for several seeds the sample standard deviation."""
    found = {seed: present_scores(scores) for seed, scores in seeds.items()}
    summary: dict[str, Any] = {
        "seeds": {
            str(seed): {**found[seed], "per_class_accuracy": dict(enumerate(scores.per_class_accuracy))}
            for seed, scores in seeds.items()
        }
    }
    for key in SCORES:
        values = [scores[key] for scores in found.values() if key in scores]
        if values:
            summary[f"{key}_mean"] = statistics.mean(values)
        if len(values) > 1:
            summary[f"{key}_std"] = statistics.stdev(values)
    return summary


def _of_pairs(seeds: Mapping[int, Scores], number: int) -> dict[str, Any]:
    """Return the number of pairs, and how many of their single images each seed recognised, in percent."""
    accuracies = {str(seed): scores.class_accuracy for seed, scores in seeds.items()}
    mean = statistics.mean(accuracies.values())
    return {"number": number, "image_accuracy": accuracies, "image_accuracy_mean": mean}


def _confusion(seeds: Mapping[int, Scores]) -> list[dict[str, int]]:
    """Return the confusion matrices as rows of counts."""
    return [
        {"seed": seed, "actual": actual, "predicted": predicted, "count": count}
        for seed, scores in seeds.items()
        for actual, row in enumerate(scores.confusion.tolist())
        for predicted, count in enumerate(row)
    ]
