"""The speed of training steps, of whole epochs, and of scoring."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from capsnet.evaluation.recognition import evaluate
from capsnet.networks.capsnet import CapsNet, NetworkConfig
from capsnet.training.loop import Course, train_side_by_side
from capsnet.training.processes import Processes
from capsnet.training.step import PRECISIONS, Trainer
from capsnet.training.training_config import TrainingConfig
from tests.benchmarks.plain import PlainNetwork
from tests.benchmarks.workloads import random_images, synchronise
from tests.gpu.gpu_table import tell
from tests.gpu.measured_runs import Settings, mnist, networks, seconds


def steps(settings: Settings, device: torch.device) -> None:
    """Measure training steps of every network, precision and batch, beside a plain network as torch comes."""
    sizes = (8,) if settings["small"] else (128, 512, 2048)
    for name, model, config in networks(settings):
        arithmetic = operations(model, device)
        if name == "mnist-fc":
            plain_step(model, sizes[0], arithmetic, settings, device)
        for precision in PRECISIONS:
            for batch in sizes:
                with skipped_where_memory_ends(f"{name}, {precision}, batch {batch}"):
                    speed, peak = step_speed(model, replace(config, precision=precision), batch, settings, device)
                    label = f"{name}, {precision}, batch {batch}"
                    rate = speed * arithmetic / 1e12
                    note = f"{1e3 * batch / speed:.3g} ms a step, {rate:.3g} TFLOP/s, {peak:,.0f} MB"
                    tell(label, "images/s", speed, note=note)


def step_speed(
    model: NetworkConfig, config: TrainingConfig, batch: int, settings: Settings, device: torch.device
) -> tuple[float, float]:
    """Return images a second and the MB that torch keeps for data, network, optimiser and recorded steps."""
    number = 2 if settings["small"] else max(10, 6400 // batch)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    before = _reserved(device)
    images, labels = random_images(batch * number, model, device)
    members = torch.arange(len(images), device=device)
    trainer = Trainer(model, config, images, labels, members, 0, Processes())

    def epoch(which: int) -> None:
        for _ in trainer.epoch(which, [batch] * number, [0.001] * number, config.alpha):
            pass

    epoch(1)
    taken = []
    for which in (2, 3, 4):
        synchronise(device)
        start = time.perf_counter()
        epoch(which)
        synchronise(device)
        taken.append(time.perf_counter() - start)
    return batch * number / sorted(taken)[1], _reserved(device) - before


def plain_step(model: NetworkConfig, batch: int, arithmetic: float, settings: Settings, device: torch.device) -> None:
    """Measure the benchmark's plain network in eager mode, as torch comes: TF32 in convolutions, not deterministic."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(0)
    network = PlainNetwork("bmm", model).to(device)
    optimizer = torch.optim.Adam(network.parameters())
    images, labels = random_images(batch, model, device)
    pixels = images / 255

    def step() -> None:
        optimizer.zero_grad()
        network(pixels, labels, 0.0005).backward()
        optimizer.step()

    speed = batch / seconds(step, device, 2 if settings["small"] else 30)
    note = f"{1e3 * batch / speed:.3g} ms a step, {speed * arithmetic / 1e12:.3g} TFLOP/s"
    tell(f"plain network (bmm, eager, torch's defaults), batch {batch}", "images/s", speed, note=note)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False


def epoch(settings: Settings, device: torch.device) -> None:
    """Measure whole epochs of the stages' training and the scoring of a test set."""
    for name, model, config in networks(settings):
        images, labels = mnist("train", settings, device)
        tested = mnist("test", settings, device)
        for precision in PRECISIONS:
            told: list[float] = []

            def log(_: int, values: Any, told: list[float] = told, number: int = len(images)) -> None:
                told.append(number / values["images_per_second"])

            changed = replace(config, precision=precision, epochs=2 if settings["small"] else 3)
            (trained,) = train_side_by_side(model, changed, images, labels, [Course(0, log=log)])
            lasted = min(told[1:])
            note = f"{len(images):,} images; training accuracy {trained.history[-1]['train_accuracy']:.2f} %"
            tell(f"{name}, {precision}: an epoch", "s", lasted, note=note)
        start = time.perf_counter()
        evaluate(trained.model, *tested)
        synchronise(device)
        tell(f"{name}: scoring", "s", time.perf_counter() - start, note=f"{len(tested[0]):,} images, float32")


def operations(model: NetworkConfig, device: torch.device) -> float:
    """Return the floating-point operations of convolutions and matrix products of a training step, per image.

    Three times those of the forward pass: the gradients of inputs and weights cost as much each. The votes of a plain
    routing are among them, once.
    """
    from torch.utils.flop_counter import FlopCounterMode

    network = CapsNet(model).to(device).eval()
    images, labels = random_images(2, model, device)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(images / 255, labels)
    return 3 * counter.get_total_flops() / 2


@contextmanager
def skipped_where_memory_ends(what: str) -> Iterator[None]:
    """Tell of the block that the card's memory was too small for it, and go on after it."""
    try:
        yield
    except torch.OutOfMemoryError:
        tell(what, "images/s", None, "", "more than the card's memory")


def _reserved(device: torch.device) -> float:
    return torch.cuda.memory_reserved(device) / 1e6 if device.type == "cuda" else 0.0
