"""A project in small: synthetic images, two tiny runs, one search, in a folder of its own."""

from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from pipeline.draw import DRAWERS

ROOT = Path(__file__).parents[2]
PLACE = {"study": "toy", "dataset": "squares"}
COMMON = PLACE | {
    "seeds": [],
    "task": "classify",
    "crop": 0,
    "standardise": False,
    "class_dim": 4,
    "decoder": "fc",
    "decoder_hidden": [8],
    "decoder_channels": 2,
    "epochs": 2,
    "batch_size": 16,
    "lr": 0.01,
    "lr_schedule": "decay",
    "lr_decay": 1.0,
    "lr_decay_steps": 100,
    "lr_floor": 0.0,
    "margin_weight": 1.0,
    "alpha": 0.0005,
    "alpha_schedule": "constant",
    "decoded_share": 1.0,
    "reconstruction": "l2",
    "max_shift": 1,
    "flip": False,
    "rotation": 0.0,
    "rotation_share": 1.0,
    "squeeze": 0.0,
    "scale": 0.0,
    "erase": 0,
    "brightness": 0.0,
    "brightness_change": "add",
    "contrast": [1.0, 1.0],
    "clip_pixels": True,
    "validation": 0.25,
    "precision": "float32",
    "device": "cpu",
    "threads": 1,
    "checkpoint_every": 1,
}
TINY = COMMON | {
    "network": "dynamic",
    "padding": "valid",
    "conv_channels": 4,
    "conv_kernel": 5,
    "primary_types": 2,
    "primary_dim": 4,
    "primary_kernel": 5,
    "primary_stride": 2,
    "primary_scale": 1.0,
    "routing_iterations": 2,
    "routing_bias": True,
    "leaky_routing": False,
    "batch_norm": False,
    "initialisation": "torch",
}
ATTENTION = COMMON | {
    "network": "attention",
    "encoder_channels": [4, 8],
    "encoder_kernels": [5, 3],
    "encoder_strides": [1, 2],
    "encoder_norm": "batch",
    "encoder_leak": 0.0,
    "primary_dim": 4,
    "lr_schedule": "one_cycle",
    "rotation": 20.0,
    "squeeze": 0.2,
    "scale": 0.1,
    "erase": 3,
}
# Image size, channels and classes of the data sets in params.yaml that runs are trained on.
SHAPES = {
    "digits": (28, 1, 10),
    "mnist": (28, 1, 10),
    "affnist": (40, 1, 10),
    "cifar10": (32, 3, 10),
    "smallnorb": (48, 2, 5),
    "smallnorb-mono": (48, 1, 5),
}
PAIRS = {"task": "separate"}
VARIANTS = {
    "toy-fc": {},
    "toy-fc_bn": {"batch_norm": True},
    "toy-deconv": {"decoder": "deconv"},
    "toy-deconv_bn": {"decoder": "deconv", "batch_norm": True},
}


def tiny_params() -> dict:
    return {
        "seeds": [0, 1],
        "tracking": {"experiment": "test", "tensorboard": True},
        "datasets": {"squares": {"format": "npz", "raw": "squares.npz"}},
        "test_pairs": {"seed": 0, "per_image": 2},
        "presets": {"reference": TINY},
        "runs": {name: TINY | changes for name, changes in VARIANTS.items()}
        | {"toy-pairs": TINY | PAIRS, "toy-attention": dict(ATTENTION)},
        "published": {"toy-fc": {"rloss": 1.0, "mloss": 0.1, "accuracy": 98.0, "source": "Somebody 2001"}},
        "tune": {
            "toy": PLACE
            | {
                "run": "toy-fc",
                "trials": 4,
                "epochs": 2,
                "validation": 0.5,
                "alpha": [0.0001, 0.01],
                "lr": [0.001, 0.1],
                "sampler": {"name": "tpe", "startup_trials": 2},
                "pruner": {"name": "median", "startup_trials": 2, "warmup_epochs": 1},
            }
        },
        "figures": {
            "squares": PLACE
            | {
                "run": "toy-deconv_bn",
                "pictures": list(DRAWERS),
                "primary": {"hidden": [8], "epochs": 2, "batch_size": 16, "lr": 0.01, "subsets": True},
            }
        },
        "compare": {"toy-decoders": PLACE | {"runs": list(VARIANTS)}},
        "pairs": {"toy-pairs": dict(PLACE)},
        "robustness": {"toy-fc": PLACE | {"step": 90}, "toy-deconv_bn": PLACE | {"step": 90}},
        "studies": {
            "toy": {
                "title": "Toy",
                "about": "Squares.",
                "tables": ["decoders", "benchmarks", "topologies", "robustness"],
            }
        },
        "tables": {
            "toy-decoders": {
                "study": "toy",
                "kind": "decoders",
                "title": "Decoders",
                "runs": [*VARIANTS, "toy-tuned"],
            },
            "toy-benchmarks": {
                "study": "toy",
                "kind": "benchmarks",
                "title": "Benchmarks",
                "runs": [{"run": "toy-fc"}],
                "published": [{"model": "Others", "dataset": "squares", "accuracy": 99.0, "source": "Somebody 2000"}],
            },
            "toy-topologies": {
                "study": "toy",
                "kind": "topologies",
                "title": "Topologies",
                "base": "toy-deconv_bn",
                "runs": ["toy-fc_bn", "toy-deconv"],
            },
            "toy-robustness": {
                "study": "toy",
                "kind": "robustness",
                "title": "Robustness",
                "runs": ["toy-fc", "toy-pairs"],
                "degrees": [90, 180],
            },
        },
        "published_weights": {
            "toy-deconv_bn": PLACE | {"run": "toy-deconv_bn", "seed": 0, "dtype": "bfloat16"},
            "toy-fc-seed-1": PLACE | {"run": "toy-fc", "seed": 1, "dtype": "float32"},
        },
    }


def changed_params(path: str, value: Any) -> dict:
    """Return the tiny project's parameters with another value at `path`, such as runs/toy-fc/lr; None removes it."""
    params = tiny_params()
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    owner: Any = params
    for key in parents:
        owner = owner[key]
    if value is None:
        del owner[last]
    else:
        owner[last] = value
    return params


def squares(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes: a bright square at one of three heights, on noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = generator.integers(0, 40, (count, 20, 20), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 6 * label : 7 + 6 * label, 7:13] = 220
    return images, labels


def photographed(count: int, split: str) -> dict[str, np.ndarray]:
    """What SmallNORB knows of its images."""
    numbers = np.arange(count)
    known = {"azimuth": 2 * (7 * numbers % 18), "elevation": 5 * numbers % 9, "lighting": numbers % 6}
    return {f"{split}_{name}": values for name, values in known.items()}


def write_params(folder: Path, params: dict) -> None:
    with (folder / "params.yaml").open("w") as file:
        YAML(typ="safe", pure=True).dump(params, file)


def make_project(folder: Path) -> Path:
    train_images, train_labels = squares(48, 0)
    test_images, test_labels = squares(12, 1)
    np.savez(
        folder / "squares.npz",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        **photographed(48, "train"),
        **photographed(12, "test"),
        note=np.array("made for a test"),
    )
    write_params(folder, tiny_params())
    return folder
