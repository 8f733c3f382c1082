"""One step of the first minutes on a GPU, in a process of its own.

    python -m tests.gpu.measure steps '{"device": "cuda", "small": false, "precision": "tf32"}'

Prints a row of the table as soon as it is known; any error ends the step, and what was printed stays.
"""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from capsnet.evaluation.recognition import evaluate
from capsnet.networks.capsnet import CapsNet, NetworkConfig
from capsnet.networks.routing import dynamic_routing
from capsnet.training.checkpoint import read_history
from capsnet.training.loop import Course, train_side_by_side
from capsnet.training.processes import Processes
from capsnet.training.step import PRECISIONS, Trainer
from capsnet.training.training_config import TrainingConfig
from pipeline.runtime.device import configure_torch
from pipeline.runtime.prepared import DATA, read_prepared
from pipeline.settings.params import load_params
from tests.benchmarks.plain import PlainNetwork
from tests.benchmarks.workloads import random_images, synchronise
from tests.gpu.gpu_table import tell

RUNS = ("mnist-fc", "mnist-deconv_bn", "mnist-attention")  # those of them that params.yaml has
Settings = dict[str, Any]


def environment(settings: Settings, device: torch.device) -> None:
    """Tell what computes, and the two rates that everything else is compared with."""
    tell("card", "", None, note=torch.cuda.get_device_name() if device.type == "cuda" else "CPU, in place of a GPU")
    tell("driver", "", None, note=_driver() if device.type == "cuda" else "none")
    tell("torch", "", None, note=torch.__version__)
    tell("cuda", "", None, note=torch.version.cuda or "none")
    tell("cudnn", "", None, note=str(torch.backends.cudnn.version()))
    try:
        import triton

        tell("triton", "", None, note=triton.__version__)
    except ImportError:
        tell("triton", "", None, note="none")
    tell("python", "", None, note=platform.python_version())
    tell("commit", "", None, note=_commit())
    for name, rate in rates(settings, device).items():
        tell(name, "TFLOP/s" if "product" in name else "TB/s", rate, note=f"{rate:.3g}")


def rates(settings: Settings, device: torch.device) -> dict[str, float]:
    """Measure large matrix products and a large copy: TFLOP/s and TB/s, read and written bytes both counted."""
    side, numbers = (256, 2**20) if settings["small"] else (8192, 2**30)
    found = {}
    for name, dtype, allowed in (
        ("product, float32", torch.float32, False),
        ("product, tf32", torch.float32, True),
        ("product, bfloat16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = allowed
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        found[name] = 2 * side**3 / seconds(lambda a=left, b=right: torch.mm(a, b), device) / 1e12  # type: ignore[misc]
    torch.backends.cuda.matmul.allow_tf32 = False
    source = torch.randn(numbers, device=device)
    target = torch.empty_like(source)
    found["copy"] = 8 * numbers / seconds(lambda: target.copy_(source), device) / 1e12
    return found


def checks(settings: Settings, device: torch.device) -> None:
    """Compare recorded steps with steps that are not, and routing with float64, in the sizes of the paper."""
    sizes = (4, 16, 10, 8, 16) if settings["small"] else (128, 1152, 10, 8, 16)
    for leaky in (False, True):
        worst = routing_error(sizes, leaky, device)
        name = f"routing{', leaky' if leaky else ''}: largest error against float64"
        tell(name, "relative", worst, "ok" if worst < 1e-5 else "failed")
    for precision in PRECISIONS:
        for name, model, config in networks(settings):
            replayed, eager = (small_trainer(model, replace(config, precision=precision), device) for _ in range(2))
            eager.recorder = None
            for trainer in (replayed, eager):
                for epoch in (1, 2):
                    for _ in trainer.epoch(epoch, [32, 32, 16], [0.001] * 3, config.alpha):
                        pass
            worst = largest_difference(replayed.tensors(), eager.tensors())
            tell(
                f"{name}, {precision}: recorded steps against plain ones",
                "relative",
                worst,
                "ok" if worst < 1e-5 else "failed",
                "equal to the bit" if worst == 0 else "",
            )


def routing_error(sizes: tuple[int, int, int, int, int], leaky: bool, device: torch.device) -> float:
    """Return the largest error of capsules and gradients, relative to the largest number of each."""
    batch, lower, upper, dim, upper_dim = sizes
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs, weight = normal(batch, lower, dim), normal(lower, upper, dim, upper_dim) / (dim * lower) ** 0.5
    grad = normal(batch, upper, upper_dim)
    results = []
    for dtype, implementation in ((torch.float64, "tiled"), (torch.float32, "auto")):
        arguments = [each.to(device, dtype, copy=True).requires_grad_() for each in (inputs, weight)]
        capsules = dynamic_routing(*arguments, leaky=leaky, implementation=implementation).capsules
        capsules.backward(grad.to(device, dtype))
        results.append([capsules.detach(), *(each.grad for each in arguments)])
    return max(
        ((one - other.double()).abs().max() / one.abs().max()).item() for one, other in zip(*results, strict=True)
    )


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the largest difference of two states, relative to the largest number of each tensor."""
    return max(
        ((tensor.double() - other[name].double()).abs().max() / tensor.double().abs().max().clamp(min=1e-30)).item()
        for name, tensor in one.items()
    )


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


def checkpoint(settings: Settings, device: torch.device) -> None:
    """Write a checkpoint on the GPU, go on from it on a CPU, and from there on the GPU again."""
    name, model, config = next(networks(settings))
    number = 24 if settings["small"] else 256
    images, labels = random_images(number, model, torch.device("cpu"))
    config = replace(config, batch_size=min(64, number // 2))
    with tempfile.TemporaryDirectory() as folder:
        state, losses = Path(folder) / "state.safetensors", []
        for epochs, place in enumerate((device, torch.device("cpu"), device), start=1):
            resume = state if state.exists() else None
            course = Course(0, checkpoint=state, resume=resume)
            here = images.to(place), labels.to(place)
            (trained,) = train_side_by_side(model, replace(config, epochs=epochs), *here, [course])
            losses = [float(row["train_loss"] or 0.0) for row in trained.history]
        history = read_history(state)
    well = len(history) == len(losses) == 3 and all(map(math.isfinite, losses))
    note = "losses " + ", ".join(f"{loss:.4f}" for loss in losses)
    tell(f"{name}: GPU, then CPU, then GPU", "epochs", len(losses), "ok" if well else "failed", note)


def training(settings: Settings, device: torch.device) -> None:
    """Train the last run through the stages for as many epochs as there is time for, and score it."""
    run, epochs, precision = "mnist-deconv_bn", settings["epochs"], settings["precision"]
    with tempfile.TemporaryDirectory() as folder:
        changes = ["--set", f"epochs={epochs}", "--set", f"precision={precision}", "--seeds", "0"]
        train = ["pipeline.train", run, *changes, "--out", folder, "--device", device.type]
        start = time.perf_counter()
        for arguments in (train, ["pipeline.evaluate", run, "--out", folder]):
            subprocess.run([sys.executable, "-m", *arguments], check=True)
        scores = json.loads((Path(folder) / f"{run}.json").read_text(encoding="utf-8"))
    note = f"accuracy {scores['accuracy_mean']:.2f} %, RLoss {scores['rloss_mean']:.2f} after {epochs} epochs, n = 1"
    tell(
        f"{run}, {precision}: {epochs} epochs, scores and start of both stages",
        "s",
        time.perf_counter() - start,
        note=note,
    )


def networks(settings: Settings) -> Iterator[tuple[str, NetworkConfig, TrainingConfig]]:
    """Yield name, network and training of the runs that are measured; of tiny ones where everything is to be small."""
    runs = load_params().runs
    for name in RUNS:
        if name in runs:
            model, config = runs[name].model(28, 1, 10), replace(runs[name].training(), validation=0.0)
            if settings["small"] and hasattr(model, "conv_channels"):
                model = replace(model, conv_channels=8, primary_types=2, decoder_hidden=(16, 24), decoder_channels=4)
            yield name, model, config


def small_trainer(model: NetworkConfig, config: TrainingConfig, device: torch.device) -> Trainer:
    """Return a trainer of 80 random images."""
    images, labels = random_images(80, model, device)
    return Trainer(model, config, images, labels, torch.arange(80, device=device), 0, Processes())


def mnist(split: str, settings: Settings, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return MNIST where it was prepared, else as many random images; a few of them where all is to be small."""
    if (DATA / "mnist.npz").is_file():
        data = read_prepared("mnist", split, device)
        images, labels = data.images, data.labels
    else:
        generator = torch.Generator().manual_seed(0)
        number = 60_000 if split == "train" else 10_000
        images = torch.randint(0, 256, (number, 1, 28, 28), generator=generator, dtype=torch.uint8).to(device)
        labels = torch.randint(0, 10, (number,), generator=generator).to(device)
    few = 64 if settings["small"] else len(images)
    return images[:few], labels[:few]


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


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    """Return the median of five measurements of so many repeats, per repeat."""
    for _ in range(3):
        work()
    taken = []
    for _ in range(5):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        synchronise(device)
        taken.append((time.perf_counter() - start) / repeats)
    return sorted(taken)[2]


@contextmanager
def skipped_where_memory_ends(what: str) -> Iterator[None]:
    """Tell of the block that the card's memory was too small for it, and go on after it."""
    try:
        yield
    except torch.OutOfMemoryError:
        tell(what, "images/s", None, "", "more than the card's memory")


def _reserved(device: torch.device) -> float:
    return torch.cuda.memory_reserved(device) / 1e6 if device.type == "cuda" else 0.0


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _commit() -> str:
    """Return the commit that is measured; where the code lies without git, what CAPSNET_COMMIT says."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout.strip() or os.environ.get("CAPSNET_COMMIT", "unknown")


STEPS: dict[str, Callable[[Settings, torch.device], None]] = {
    "environment": environment,
    "checks": checks,
    "steps": steps,
    "epoch": epoch,
    "checkpoint": checkpoint,
    "training": training,
}


def main(name: str, settings: Settings) -> None:
    """Run one step as the stages would: deterministic, without TF32 unless it is asked for."""
    warnings.simplefilter("default")
    STEPS[name](settings, configure_torch(settings["device"], 2).device)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
