"""Accuracy by viewpoint and lighting, and the capsule dimensions that follow the viewpoint (SmallNORB)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pipeline.drawing.figure import Drawing
from pipeline.drawing.style import COLOURS, PHONE, STYLES, plain_axes, small_print
from pipeline.drawing.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"azimuth": "azimuth (degrees)", "elevation": "elevation (degrees)", "lighting": "lighting"}
FOLLOWED = ("azimuth", "elevation")


class Followed(NamedTuple):
    """The dimension of a class capsule that follows an attribute best."""

    dimension: int
    r2: float
    curve: pd.Series  # mean of the standardised dimension, by value of the attribute


def attributes(subject: Subject) -> Drawing:
    """Draw accuracy by azimuth, elevation and lighting, and for each class the dimension that follows the first two.

    `subject.scores` holds the answers: `evaluate` writes none for single images. Raises ValueError if the data set
    does not have these attributes.
    """
    known = photographed(subject)
    accuracies = accuracy_by(subject, known)
    followed = {name: best_dimensions(subject, known, name) for name in FOLLOWED}
    names = [subject.named(label) for label in range(subject.test.manifest.classes)]
    caption = (
        f"Left: accuracy of {subject.label} on the test images, mean and range of the seeds. "
        "Right: for each class, the dimension of its capsule (first seed) that follows azimuth or elevation best, and "
        "at the bottom how well (R² of a linear fit)."
    )
    figure = draw_attributes(accuracies, followed, names)
    return Drawing("attributes", "Viewpoint and lighting", describe(accuracies), caption, figure, accuracies)


def describe(accuracies: pd.DataFrame) -> str:
    """Return the finding: the attribute with the largest differences in accuracy, and its extremes."""
    means = accuracies.groupby(["attribute", "value"])["accuracy"].mean()
    ranges = means.groupby("attribute").agg(lambda values: values.max() - values.min())
    name = str(ranges.idxmax())
    of_name, unit = means[name], "°" if name in FOLLOWED else ""
    return (
        f"Accuracy differs most by {name}: from {of_name.min():.2f} % (at {of_name.idxmin()}{unit}) to "
        f"{of_name.max():.2f} % (at {of_name.idxmax()}{unit})."
    )


def photographed(subject: Subject) -> pd.DataFrame:
    """Return azimuth and elevation in degrees and the lighting of each test image.

    SmallNORB's azimuth is in tens of degrees; its elevation is 30 degrees at 0 and grows by 5 degrees per step.
    """
    there = subject.test.attributes
    if missing := [name for name in LABELS if name not in there]:
        raise ValueError(
            f"attributes: {subject.test.manifest.dataset}: got {', '.join(there) or 'none'}, expected "
            f"{', '.join(missing)} of each image; leave this figure out of `figures` in params.yaml"
        )
    degrees = {"azimuth": 10 * there["azimuth"], "elevation": 30 + 5 * there["elevation"]}
    return pd.DataFrame({**degrees, "lighting": there["lighting"]})


def accuracy_by(subject: Subject, known: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each seed in percent, and the number of images, for each value of each attribute."""
    parts = []
    for seed, scores in subject.scores.items():
        hits = pd.Series(100.0 * (scores.lengths.argmax(1).cpu().numpy() == subject.labels))
        for name in known:
            of_values = hits.groupby(known[name]).agg(images="size", accuracy="mean")
            parts.append(of_values.rename_axis("value").reset_index().assign(attribute=name, seed=seed))
    return pd.concat(parts)[["attribute", "value", "seed", "images", "accuracy"]]


def best_dimensions(subject: Subject, known: pd.DataFrame, name: str) -> list[Followed]:
    """Return for each class the dimension of its capsule that follows an attribute best on its own test images."""
    import torch

    from capsnet.explain.attributes import explained
    from capsnet.explain.capsules import class_capsules

    capsules = class_capsules(subject.network, subject.test.images).cpu()
    values = known[name].to_numpy()
    radians = np.deg2rad(values)
    columns = np.stack([np.cos(radians), np.sin(radians)] if name == "azimuth" else [values], 1)
    found = []
    for label in range(subject.test.manifest.classes):
        of_class = subject.labels == label
        poses = capsules[of_class, label]
        r2 = explained(poses, torch.from_numpy(columns[of_class]).to(poses.dtype))
        best = int(r2.argmax())
        standardised = (poses[:, best] - poses[:, best].mean()) / poses[:, best].std()
        curve = pd.Series(standardised.numpy()).groupby(values[of_class]).mean()
        found.append(Followed(best, float(r2[best]), curve))
    return found


def draw_attributes(accuracies: pd.DataFrame, followed: dict[str, list[Followed]], names: Sequence[str]) -> "Figure":
    """Draw accuracies on the left, and on the right the curves of the best dimensions with their R²."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PHONE, 6.2), layout="constrained")
    left, right = figure.subplots(3, 2).T
    for axes, (name, label) in zip(left, LABELS.items(), strict=True):
        seeds = accuracies[accuracies["attribute"] == name].pivot(index="value", columns="seed", values="accuracy")
        axes.plot(seeds.index, seeds.mean(axis=1), "o-", color=COLOURS[0], markersize=3, linewidth=1.2)
        axes.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=COLOURS[0], alpha=0.15, linewidth=0)
        axes.set(xlabel=label, ylabel="accuracy (%)")
    for axes, (name, of_classes) in zip(right, followed.items(), strict=False):
        for number, each in enumerate(of_classes):
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number % len(STYLES)]}
            axes.plot(each.curve.index, each.curve, linewidth=1.2, **style)
        axes.set(xlabel=LABELS[name], ylabel="best dimension (std)")
    _draw_r2(right[2], followed, names)
    for axes in (*left, *right):
        plain_axes(axes)
        small_print(axes)
    return figure


def _draw_r2(axes: "Axes", followed: dict[str, list[Followed]], names: Sequence[str]) -> None:
    """Draw a bar for each class and attribute, in the colours of the curves; the bars of elevation are hatched."""
    places = np.arange(len(names))
    for shift, (name, of_classes) in zip((-0.2, 0.2), followed.items(), strict=True):
        axes.bar(
            places + shift,
            [each.r2 for each in of_classes],
            0.38,
            color=[COLOURS[number % len(COLOURS)] for number in places],
            hatch="" if name == FOLLOWED[0] else "///",
            edgecolor="white",
            linewidth=0,
        )
    axes.set_xticks(places, names, rotation=30, ha="right")
    axes.set(ylabel="R²: azimuth, elevation (hatched)", ylim=(0, 1))
