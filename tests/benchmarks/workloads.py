"""The steps themselves: the library's, those of the plain networks, and routing alone.

Axes: B batch, I lower capsules, J upper capsules, K and D their pose sizes.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from capsnet.networks.capsnet import NetworkConfig, mask
from capsnet.networks.losses import RECONSTRUCTION_LOSSES, margin_loss
from capsnet.networks.routing import dynamic_routing
from capsnet.networks.squash import squash
from capsnet.training.processes import Processes
from capsnet.training.step import Trainer
from tests.benchmarks.cases import PARTS, PLAIN, SIZES, BenchmarkJob, model_config, run_settings
from tests.benchmarks.plain import LAYERS, PlainNetwork


class StepParts(NamedTuple):
    """The parts of one step, to be timed one by one in eager mode."""

    encode: Callable[[], Tensor]
    route: Callable[[Tensor], Tensor]
    losses: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer


class Workload(NamedTuple):
    """What a worker measures: the steps of one measurement, and the parts of one of them."""

    steps: Callable[[], None]
    parts: StepParts | None


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def split(parts: StepParts, device: torch.device) -> dict[str, float]:
    """Return the seconds of each part of a step: the keys are `PARTS`."""
    parts.optimizer.zero_grad(set_to_none=True)
    times = []

    def mark() -> None:
        synchronise(device)
        times.append(time.perf_counter())

    mark()
    primary = parts.encode()
    mark()
    capsules = parts.route(primary)
    mark()
    loss = parts.losses(capsules)
    mark()
    loss.backward()
    mark()
    parts.optimizer.step()
    mark()
    return {name: after - before for name, (before, after) in zip(PARTS, itertools.pairwise(times), strict=True)}


def step_workload(job: BenchmarkJob, device: torch.device) -> Workload:
    """Build a network, its optimiser and random images for the steps of one measurement."""
    build = _plain_step if job["implementation"] in PLAIN else _our_step
    return build(job, device)


def _our_step(job: BenchmarkJob, device: torch.device) -> Workload:
    """Take the trainer of the stages, with everything that it does: order, shifts, sums, precision."""
    config, run = model_config(job["case"]), run_settings(job["case"])
    batch, steps = job["batch"], job["steps"]
    images, labels = random_images(batch * steps, config, device)
    members = torch.arange(len(images), device=device)
    settings = replace(run.training(), precision=job["implementation"])
    trainer = Trainer(config, settings, images, labels, members, 0, Processes())
    epochs = itertools.count(1)

    def train() -> None:
        for _ in trainer.epoch(next(epochs), [batch] * steps, [run.lr] * steps, run.alpha):
            pass

    pixels, model = images[:batch] / 255, trainer.model
    enabled = trainer.precision != torch.float32

    def mixed(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*arguments: Tensor) -> Tensor:
            with torch.autocast(device.type, trainer.precision, enabled=enabled, cache_enabled=False):
                return part(*arguments)

        return call

    decode = mixed(lambda capsules: model.decoder(mask(capsules, labels[:batch]).flatten(1)))

    def losses(capsules: Tensor) -> Tensor:
        margin = margin_loss(torch.linalg.vector_norm(capsules, dim=2), labels[:batch])
        error = RECONSTRUCTION_LOSSES[run.reconstruction](pixels, decode(capsules).to(pixels.dtype))
        return (margin + run.alpha * error).mean()

    encode = mixed(lambda: model.encoder(pixels))
    route = mixed(lambda primary: model.class_capsules(primary).capsules)
    return Workload(train, StepParts(encode, route, losses, trainer.optimizer))


def _plain_step(job: BenchmarkJob, device: torch.device) -> Workload:
    """Take a plain network as a public training loop has it; its batches are ready-made."""
    config, run = model_config(job["case"]), run_settings()
    torch.manual_seed(0)
    model = PlainNetwork(job["implementation"], config).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    images, labels = random_images(job["batch"], config, device)
    pixels = images / 255

    def train() -> None:
        for _ in range(job["steps"]):
            optimizer.zero_grad()
            model(pixels, labels, run.alpha).backward()
            optimizer.step()

    def losses(capsules: Tensor) -> Tensor:
        return model.losses(capsules, pixels, labels, run.alpha)

    return Workload(train, StepParts(lambda: model.encode(pixels), model.class_capsules, losses, optimizer))


def random_images(number: int, config: NetworkConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make images that a network could see, and labels; the same on every device."""
    generator = torch.Generator().manual_seed(0)
    shape = (number, config.channels, config.image_size, config.image_size)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return images.to(device), torch.randint(0, config.classes, (number,), generator=generator).to(device)


def routing_workload(job: BenchmarkJob, lower: int, device: torch.device) -> tuple[Workload, list[Tensor]]:
    """Build routing alone, forward and backward; return the inputs and weights too, whose gradients it makes."""
    torch.manual_seed(0)
    sizes, name = SIZES, job["implementation"]
    inputs = squash(torch.randn(job["batch"], lower, sizes["dims"], device=device)).requires_grad_()
    grad = torch.randn(job["batch"], sizes["uppers"], sizes["upper_dims"], device=device)
    iterations = run_settings().routing_iterations
    route: Callable[[], Tensor]
    if name in PLAIN:
        layer = LAYERS[name](lower, sizes["dims"], sizes["uppers"], sizes["upper_dims"], iterations).to(device)
        leaves = [inputs, *layer.parameters()]
        route = partial(layer, inputs)
    else:
        weight = torch.randn(lower, sizes["uppers"], sizes["dims"], sizes["upper_dims"], device=device)
        weight = (0.1 * weight).requires_grad_()
        leaves = [inputs, weight]

        def route() -> Tensor:
            return dynamic_routing(inputs, weight, iterations=iterations, implementation=name).capsules

    def train() -> None:
        for _ in range(job["steps"]):
            for leaf in leaves:
                leaf.grad = None
            route().backward(grad)

    return Workload(train, None), leaves
