"""What is measured: three networks, routing alone, and the implementations beside each other."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsnet.model import ModelConfig
    from pipeline.config import Run

RUN = "mnist-fc"  # of params.yaml: network and training of the MNIST case, from which the others differ
# The images of a case, and the number of its primary types; the last is what CIFAR10 has in Sabour et al. 2017.
CASES: dict[str, dict[str, int]] = {
    "mnist": {"image_size": 28, "channels": 1, "classes": 10, "primary_types": 32},
    "smallnorb": {"image_size": 32, "channels": 2, "classes": 5, "primary_types": 32},
    "cifar10": {"image_size": 32, "channels": 3, "classes": 10, "primary_types": 64},
}
TITLES = {"mnist": "MNIST 28x28x1", "smallnorb": "SmallNORB 32x32x2", "cifar10": "CIFAR10 32x32x3, 64 types"}
STEP_LABELS = {
    "float32": "ours, float32",
    "bfloat16": "ours, bfloat16",
    "bmm": "plain, bmm",
    "broadcast": "plain, broadcast",
}
PLAIN = ("bmm", "broadcast")
LOWER = 1152  # I of the MNIST network; K, J and D are the same everywhere
LOWER_SAME = 9216  # I of 24x24 CIFAR10 crops, 64 types and SAME padding (Sabour et al. 2017, section 5)
SIZES = {"dims": 8, "uppers": 10, "upper_dims": 16}

PARTS = ("encoder", "routing", "decoder", "backward", "optimiser")  # of a step, in its order; decoder with losses

Job = dict[str, Any]


def run_settings() -> "Run":
    """Read the run whose network and training are measured."""
    from pipeline.config import find, load_params

    return find(RUN, load_params().runs, "run")


def model_config(case: str) -> "ModelConfig":
    """Return the network of a case."""
    sizes = CASES[case]
    built = run_settings().model(sizes["image_size"], sizes["channels"], sizes["classes"])
    return replace(built, primary_types=sizes["primary_types"])


def step_jobs(case: str, settings: Mapping[str, Any]) -> list[Job]:
    """Return one job an implementation of a whole training step."""
    return [{**settings, "kind": "step", "case": case, "implementation": name} for name in STEP_LABELS]


def routing_jobs(lower: int, settings: Mapping[str, Any]) -> list[Job]:
    """Return one job an implementation of routing alone; votes of 9216 lower capsules are stored by none of ours."""
    names = ["tiled"] if lower == LOWER_SAME else [*PLAIN, "plain", "tiled", "compiled"]
    names += ["triton"] if settings["device"] == "cuda" else []
    return [{**settings, "kind": "routing", "lower": lower, "implementation": name} for name in names]
