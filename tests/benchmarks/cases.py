"""What is measured: four networks, routing alone, and the implementations beside each other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsnet.networks.capsnet import NetworkConfig
    from pipeline.settings.runs import Run

RUN = "mnist-fc"  # of params.yaml: network and training of the MNIST case, from which the others differ
RUNS = {"attention": "mnist-attention"}  # cases of runs of their own, with the batches of those
# What differs from that network. CIFAR10 as in Sabour et al. 2017: crops, padded convolutions, 64 types.
CASES: dict[str, dict[str, Any]] = {
    "mnist": {"image_size": 28, "channels": 1, "classes": 10},
    "smallnorb": {"image_size": 32, "channels": 2, "classes": 5},
    "cifar10": {"image_size": 24, "channels": 3, "classes": 10, "primary_types": 64, "padding": "same"},
    "attention": {"image_size": 28, "channels": 1, "classes": 10},
}
TITLES = {
    "mnist": "MNIST 28x28x1",
    "smallnorb": "SmallNORB 32x32x2",
    "cifar10": "CIFAR10 24x24x3, 64 types, SAME",
    "attention": "MNIST 28x28x1, self-attention",
}
STEP_LABELS = {
    "float32": "ours, float32",
    "bfloat16": "ours, bfloat16",
    "bmm": "plain, bmm",
    "broadcast": "plain, broadcast",
}
PLAIN = ("bmm", "broadcast")
LOWER = 1152  # I of the MNIST network; K, J and D are the same everywhere
LOWER_SAME = 9216  # I of the CIFAR10 network
SIZES = {"dims": 8, "uppers": 10, "upper_dims": 16}

PARTS = ("encoder", "routing", "decoder", "backward", "optimiser")  # of a step, in its order; decoder with losses

BenchmarkJob = dict[str, Any]


def run_settings(case: str = "mnist") -> "Run":
    """Read the run whose network and training are measured."""
    from pipeline.settings.params import find, load_params

    return find(RUNS.get(case, RUN), load_params().runs, "run")


def model_config(case: str) -> "NetworkConfig":
    """Return the network of a case."""
    changes = dict(CASES[case])
    of_data = [changes.pop(name) for name in ("image_size", "channels", "classes")]
    return replace(run_settings(case).model(*of_data), **changes)


def step_jobs(case: str, settings: Mapping[str, Any]) -> list[BenchmarkJob]:
    """Return one job an implementation of a whole training step; bfloat16 is measured where it is computed.

    Of a run of its own there are only ours.
    """
    names, settings = [name for name in STEP_LABELS if name != "bfloat16" or settings["bfloat16"]], dict(settings)
    if case in RUNS:
        names = [name for name in names if name not in PLAIN]
        settings["batch"] = run_settings(case).batch_size
    return [{**settings, "kind": "step", "case": case, "implementation": name} for name in names]


def routing_jobs(lower: int, settings: Mapping[str, Any]) -> list[BenchmarkJob]:
    """Return one job an implementation of routing alone; votes of 9216 lower capsules are stored by none of ours."""
    names = ["tiled"] if lower == LOWER_SAME else [*PLAIN, "plain", "tiled"]
    names += ["triton"] if settings["device"] == "cuda" else []
    return [{**settings, "kind": "routing", "lower": lower, "implementation": name} for name in names]
