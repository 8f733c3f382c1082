"""What only a GPU is asked: an MNIST epoch of one seed and of four side by side, and how busy its multipliers are.

    python -m tests.benchmarks.gpu SETTINGS                       (JSON: device, threads, images, batch, epochs)

Prints the rows of gpu.csv as JSON. Images are random; each row is n epochs, or products, after one that warms up.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from capsnet.kernels.convolution import conv2d
from capsnet.training.loop import Course, train_side_by_side
from pipeline.runtime.device import configure_torch
from tests.benchmarks.cases import model_config, run_settings
from tests.benchmarks.plain import PlainNetwork
from tests.benchmarks.workloads import synchronise

SEEDS = (1, 4)


def rows(settings: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Measure in the order of the table; the plain network first, before torch is made deterministic."""
    device = torch.device(settings["device"])
    torch.set_num_threads(settings["threads"])
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (settings["images"], 1, 28, 28), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, 10, (settings["images"],), generator=generator).to(device)
    yield _row("MNIST epoch, plain bmm, eager", "s", plain_epochs(images, labels, settings))
    configure_torch(settings["device"], settings["threads"])
    for precision in ("float32", "bfloat16") if settings["bfloat16"] else ("float32",):
        for seeds in SEEDS:
            what = f"MNIST epoch, ours, {precision}, {seeds} seed{'s side by side' if seeds > 1 else ''}"
            yield _row(what, "s", our_epochs(images, labels, precision, seeds, settings))
    if settings["bfloat16"]:
        yield _row(
            "primary convolution, forward and backward, bfloat16", "TFLOP/s", convolution_rates(device, settings)
        )
        yield _row(f"matrix product, side {settings['product']}, bfloat16", "TFLOP/s", product_rates(device, settings))


def _row(what: str, unit: str, values: list[float]) -> dict[str, object]:
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return {
        "measurement": what,
        "unit": unit,
        "median": middle,
        "low": ordered[0],
        "high": ordered[-1],
        "n": len(values),
    }


def plain_epochs(images: Tensor, labels: Tensor, settings: dict[str, Any]) -> list[float]:
    """Return seconds of epochs of the bmm network in eager mode, images on the device, no augmentation.

    In float32 as torch comes: with TF32 in convolutions.
    """
    run, device, batch = run_settings(), images.device, settings["batch"]
    torch.manual_seed(0)
    model = PlainNetwork("bmm", model_config("mnist")).to(device)
    optimizer = torch.optim.Adam(model.parameters())

    def epoch() -> None:
        for chosen in torch.randperm(len(images), device=device).split(batch):
            optimizer.zero_grad()
            model(images[chosen] / 255, labels[chosen], run.alpha).backward()
            optimizer.step()

    return _seconds(epoch, settings["epochs"], device)


def our_epochs(images: Tensor, labels: Tensor, precision: str, seeds: int, settings: dict[str, Any]) -> list[float]:
    """Return seconds of epochs of all seeds together, through the function that the stages call."""
    told: list[float] = []
    config = replace(
        run_settings().training(),
        epochs=settings["epochs"] + 1,
        batch_size=settings["batch"],
        precision=precision,
        validation=0.0,
    )

    def log(_: int, values: Any) -> None:
        told.append(len(images) / values["images_per_second"])

    # On a GPU all seeds share the seconds that the first one is told.
    courses = [Course(0, log=log), *(Course(seed) for seed in range(1, seeds))]
    train_side_by_side(model_config("mnist"), config, images, labels, courses)
    return told[1:]


def convolution_rates(device: torch.device, settings: dict[str, Any]) -> list[float]:
    """Return the TFLOP/s of the primary capsules' convolution and its two gradients."""
    config, batch = model_config("mnist"), settings["batch"]
    side, channels = config.image_size - config.conv_kernel + 1, config.conv_channels
    outputs = config.primary_types * config.primary_dim
    channels_last = {"memory_format": torch.channels_last}
    inputs = torch.randn(batch, channels, side, side, device=device, dtype=torch.bfloat16).to(**channels_last)
    weight = torch.randn(outputs, channels, config.primary_kernel, config.primary_kernel, device=device)
    weight = weight.to(torch.bfloat16).to(**channels_last)
    inputs.requires_grad_()
    weight.requires_grad_()
    grad = torch.randn_like(conv2d(inputs, weight, None, config.primary_stride))
    flop = 3 * 2 * grad.numel() * channels * config.primary_kernel**2

    def both() -> None:
        torch.autograd.grad(conv2d(inputs, weight, None, config.primary_stride), (inputs, weight), grad)

    return _rates(both, flop, device, settings["repeats"])


def product_rates(device: torch.device, settings: dict[str, Any]) -> list[float]:
    """Return the TFLOP/s of a large square matrix product."""
    side = settings["product"]
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return _rates(lambda: torch.mm(left, right), 2 * side**3, device, settings["repeats"])


def _rates(work: Callable[[], object], flop: int, device: torch.device, repeats: int) -> list[float]:
    """Return TFLOP/s of five measurements of so many repeats each."""

    def several() -> None:
        for _ in range(repeats):
            work()

    return [repeats * flop / seconds / 1e12 for seconds in _seconds(several, 5, device)]


def _seconds(work: Callable[[], object], times: int, device: torch.device) -> list[float]:
    taken = []
    for _ in range(times + 1):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        taken.append(time.perf_counter() - start)
    return taken[1:]


if __name__ == "__main__":
    print(json.dumps([*rows(json.loads(sys.argv[1]))]))
