"""The speed of training steps, of whole epochs, and of scoring."""

import gc
import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from capsnet.evaluation.recognition import evaluate
from capsnet.networks.capsnet import NetworkConfig
from capsnet.training.loop import Course, train_side_by_side
from capsnet.training.processes import Processes
from capsnet.training.step import PRECISIONS, Trainer
from capsnet.training.training_config import TrainingConfig
from tests.benchmarks.plain import LAYERS, PlainNetwork
from tests.benchmarks.workloads import random_images, synchronise
from tests.gpu.gpu_table import tell
from tests.gpu.measured_runs import Settings, failures_told, mnist, networks, precisions, seconds
from tests.gpu.step_cost import StepCost, step_cost

PAYS = 1.05  # a larger batch has to be faster by this factor
GOAL = 1.0  # seconds of an epoch of MNIST and its scoring
HELD_TO_IT = ("mnist-fc", "mnist-attention")


def steps(settings: Settings, device: torch.device) -> None:
    """Measure training steps of every network and precision, with larger batches as long as they are faster."""
    sizes = (8, 16) if settings["small"] else (128, 512, 2048)
    for name, model, config in networks(settings):
        cost = step_cost(model)
        if name == "mnist-fc":
            plain_steps(model, sizes[0], cost, settings, device)
        else:
            label = f"{name}, float32, batch {sizes[0]}, steps not replayed"
            with failures_told(label, "images/s"):
                speed, peak = step_speed(model, config, sizes[0], settings, device, captured=False)
                tell(label, "images/s", speed, note=in_words(speed, sizes[0], "float32", cost, settings, peak))
        for precision in precisions(name, settings):
            measured: dict[int, float] = {}
            for batch in sizes:
                label = f"{name}, {precision}, batch {batch}"
                with failures_told(label, "images/s"):
                    changed = replace(config, precision=precision)
                    speed, peak = step_speed(model, changed, batch, settings, device)
                    tell(label, "images/s", speed, note=in_words(speed, batch, precision, cost, settings, peak))
                    measured[batch] = speed
                if not pays(measured, batch):
                    break
            tell_of_batches(f"{name}, {precision}", measured)


def pays(measured: dict[int, float], batch: int) -> bool:
    """Tell whether a batch is clearly faster than all smaller ones; the first one is if it could be measured."""
    smaller = [speed for size, speed in measured.items() if size < batch]
    return batch in measured and all(measured[batch] >= PAYS * speed for speed in smaller)


def tell_of_batches(name: str, measured: dict[int, float]) -> None:
    """Tell the largest batch that is clearly faster than the smaller ones."""
    if paying := [batch for batch in measured if pays(measured, batch)]:
        best = max(paying)
        note = f"{measured[best] / measured[min(measured)]:.2f} times as fast as batch {min(measured)}"
        if best == max(measured):
            note += "; it is the largest that was measured"
        tell(f"{name}: largest batch that pays", "images", best, note=note)


def in_words(speed: float, batch: int, precision: str, cost: StepCost, settings: Settings, peak: float | None) -> str:
    """Return the time of a step, its memory, and its share of the card's rates for matrix products and copies."""
    words = [f"{1e3 * batch / speed:.3g} ms a step"]
    steps_a_second, rates = speed / batch, settings["rates"]
    if product := rates.get(f"product, {precision}"):
        rate = speed * cost.operations / 1e12
        words.append(f"{rate:.3g} TFLOP/s, {100 * rate / product:.3g} % of matrix products")
    if copy := rates.get("copy"):
        rate = steps_a_second * cost.bytes(batch) / 1e12
        words.append(f"{rate:.3g} TB/s, {100 * rate / copy:.3g} % of copies")
    return ", ".join(words + ([f"{peak:,.0f} MB"] if peak is not None else []))


def step_speed(
    model: NetworkConfig,
    config: TrainingConfig,
    batch: int,
    settings: Settings,
    device: torch.device,
    *,
    captured: bool = True,
) -> tuple[float, float | None]:
    """Return images a second and, on a GPU, the MB that torch keeps for data, network, optimiser and steps."""
    number = 2 if settings["small"] else max(4, 6400 // batch)
    gc.collect()  # the trainers of before, whose graphs keep memory
    if device.type == "cuda":
        torch.cuda.empty_cache()
    before = _reserved(device)
    images, labels = random_images(batch * number, model, device)
    members = torch.arange(len(images), device=device)
    trainer = Trainer(model, config, images, labels, members, 0, Processes())
    if not captured:
        trainer.replayer = None

    def epoch(which: int) -> None:
        for _ in trainer.epoch(which, [batch] * number, [0.001] * number, config.alpha):
            pass

    epoch(1)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # of copies that were made while the step was captured
    taken = []
    for which in (2, 3, 4):
        synchronise(device)
        start = time.perf_counter()
        epoch(which)
        synchronise(device)
        taken.append(time.perf_counter() - start)
    return batch * number / sorted(taken)[1], _reserved(device) - before if device.type == "cuda" else None


def plain_steps(model: NetworkConfig, batch: int, cost: StepCost, settings: Settings, device: torch.device) -> None:
    """Measure the benchmark's plain networks in eager mode, not deterministic.

    TF32 in convolutions is PyTorch's own default.
    """
    torch.use_deterministic_algorithms(False)
    for layer in LAYERS:
        for precision in PRECISIONS:
            label = f"plain network ({layer}, eager), {precision}, batch {batch}"
            with failures_told(label, "images/s"):
                speed = batch / plain_seconds(layer, precision, model, batch, settings, device)
                tell(label, "images/s", speed, note=in_words(speed, batch, precision, cost, settings, None))
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False


def plain_seconds(
    layer: str, precision: str, model: NetworkConfig, batch: int, settings: Settings, device: torch.device
) -> float:
    """Return the seconds of a training step of a plain network."""
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.manual_seed(0)
    network = PlainNetwork(layer, model).to(device)
    optimizer = torch.optim.Adam(network.parameters())
    images, labels = random_images(batch, model, device)
    pixels = images / 255

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = network(pixels, labels, 0.0005)
        loss.backward()
        optimizer.step()

    return seconds(step, device, 2 if settings["small"] else 20)


def epoch(settings: Settings, device: torch.device) -> None:
    """Measure whole epochs of the stages' training, and the scoring of the test set after an epoch."""
    for name, model, config in networks(settings):
        (images, labels), tested = mnist("train", device), mnist("test", device)
        for precision in precisions(name, settings):
            told: list[float] = []

            def log(_: int, values: Any, told: list[float] = told, number: int = len(images)) -> None:
                told.append(number / values["images_per_second"])

            changed = replace(config, precision=precision, epochs=2 if settings["small"] else 3)
            (trained,) = train_side_by_side(model, changed, images, labels, [Course(0, log=log)])
            lasted = min(told[1:])
            note = f"{len(images):,} images; training accuracy {trained.history[-1]['train_accuracy']:.2f} %"
            tell(f"{name}, {precision}: an epoch", "s", lasted, note=note)
            scoring = seconds(partial(evaluate, trained.model, *tested), device, 1)
            goal = f"; the goal of {GOAL:g} s is {'met' if lasted + scoring <= GOAL else 'missed'}"
            note = f"scoring: {len(tested[0]):,} images, float32, {scoring:.3g} s{goal if name in HELD_TO_IT else ''}"
            tell(f"{name}, {precision}: an epoch and its scoring", "s", lasted + scoring, note=note)


def _reserved(device: torch.device) -> float:
    return torch.cuda.memory_reserved(device) / 1e6 if device.type == "cuda" else 0.0
