"""The networks of the page: which of the published ones, and what the page says about each."""

from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Int64, UInt8
from torch import Tensor

from capsnet.evaluation.recognition import recognise
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.saved import load, read_settings
from pipeline.apps.live_page.program import build_program
from pipeline.apps.live_page.slider_names import name_sliders
from pipeline.apps.network import best_published, read_publication
from pipeline.drawing.perturbation import REACH
from pipeline.runtime.weights import PUBLISHED, published_models

DATASET = "mnist"
COMPARED = 2000  # test images on which the rounded weights are compared with the original ones
MOST_LOST = 1  # of these: 0.05 points of accuracy
BATCH = 200


class PublishedNetwork(NamedTuple):
    """A published network and its manifest."""

    path: Path
    manifest: dict[str, Any]
    model: CapsNet


def best_of_each_kind() -> list[PublishedNetwork]:
    """Return the first published seed of the best run of the data set for each kind of routing, the best first.

    Raises FileNotFoundError if there is none, ValueError for a damaged manifest.
    """
    found: dict[str, PublishedNetwork] = {}
    for run in best_published(DATASET):
        path = next(iter(published_models(run).values()))
        model = load(path)
        if model.decoder is not None:
            found.setdefault(model.config.network, PublishedNetwork(path, read_publication(path), model))
    if not found:
        raise FileNotFoundError(f"{PUBLISHED}: got no network of {DATASET} with a decoder, expected at least one")
    return [*found.values()]


class PageNetwork(NamedTuple):
    """A network as the page takes it: `facts` and `program` become JSON."""

    facts: dict[str, Any]
    program: dict[str, Any]
    weights: bytes


def prepare(network: PublishedNetwork, images: UInt8[Tensor, "N 1 H H"], labels: Int64[Tensor, " N"]) -> PageNetwork:
    """Round the weights of a network for the page, compare it with the original, and name its sliders.

    Raises ValueError naming the file if the page cannot run the network, or if it recognises fewer images.
    """
    path, manifest, model = network
    config = model.config
    size = int(images.shape[2])
    try:
        if config.image_size != size or config.channels != images.shape[1]:
            raise ValueError(f"image_size: got {config.image_size}, expected {size}, in one channel")
        built = build_program(model)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    compared = min(COMPARED, len(images))
    before, after = (_recognised(each, images[:compared], labels[:compared]) for each in (model.float(), built.model))
    if before - after > MOST_LOST:
        raise ValueError(
            f"{path}: with rounded weights {after} of {compared} images are recognised, expected at least "
            f"{before - MOST_LOST}"
        )
    settings = read_settings(path)
    sliders = name_sliders(built.model, images, labels, int(settings.get("max_shift", 0)), REACH)
    field = config.layout.field
    facts = {
        "name": path.stem,
        "routing": config.routing[0].upper() + config.routing[1:],
        "kind": config.network,
        "source": config.source,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "accuracy": manifest["accuracy"],
        "test_images": manifest.get("test_images"),
        "compared": {"images": compared, "before": before, "after": after},
        "bytes": len(built.weights),
        "rotation": float(settings.get("rotation", 0)),
        "classes": config.classes,
        "class_dim": config.class_dim,
        "even": config.even_share,
        "primary": {"types": config.layout.types, "grid": config.layout.grid, "dim": config.layout.dim},
        "field": {"first": field.centre(0), "step": field.step, "size": field.size},
        "reach": REACH,
        "sliders": sliders,
    }
    program = {
        "size": size,
        "channels": config.channels,
        "encode": built.encode,
        "route": built.route,
        "decode": built.decode,
    }
    return PageNetwork(facts, program, built.weights)


def _recognised(model: CapsNet, images: UInt8[Tensor, "N 1 H H"], labels: Int64[Tensor, " N"]) -> int:
    """Return how many images a network recognises."""
    hits = 0
    for batch, truth in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        hits += int((recognise(model, batch, decoded=0).output.lengths.argmax(1) == truth).sum())
    return hits
