"""Training: one network, one seed, every image once an epoch, everything on the device.

Axes: N images, B batch, C channels, H W height and width.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Generator, Tensor
from tqdm import tqdm

from capsnet.checkpoint import load_state, save_state
from capsnet.data.augment import shift
from capsnet.evaluation import evaluate
from capsnet.losses import RECONSTRUCTION_LOSSES, margin_loss
from capsnet.model import CapsNet, ModelConfig

# Reconstruction weight in epoch 1, 2, ...; the two annealed schedules are the reference study's.
ALPHA_SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "constant": lambda alpha, epoch: alpha,
    "tanh_delayed": lambda alpha, epoch: alpha * (math.tanh(epoch / 8 - math.pi) + 1) / 2,
    "tanh": lambda alpha, epoch: alpha * math.tanh(epoch / 16),
}

Row = dict[str, float | int | None]
Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class TrainingConfig:
    """Everything but the architecture, the data and the seed that decides the outcome of a training."""

    epochs: int
    batch_size: int
    lr: float  # Adam's learning rate at step 0
    lr_decay: float  # factor per `lr_decay_steps` steps, applied continuously; 1 for none
    lr_decay_steps: int
    lr_floor: float  # the learning rate never falls below
    alpha: float  # weight of the reconstruction loss, on the sum over pixels
    alpha_schedule: str  # a key of ALPHA_SCHEDULES
    reconstruction: str  # a key of RECONSTRUCTION_LOSSES
    max_shift: int  # pixels by which a training image is shifted at most, in x and in y
    validation: float  # fraction of the training images held out for validation; 0 for none


class Trained(NamedTuple):
    """The network after the last epoch, on its device, and one row of `history.csv` an epoch."""

    model: CapsNet
    history: list[Row]


class _State(NamedTuple):
    model: CapsNet
    optimizer: torch.optim.Adam
    history: list[Row]


class _Images(NamedTuple):
    images: UInt8[Tensor, "N C H W"]
    labels: Int64[Tensor, " N"]


def train(
    model_config: ModelConfig,
    config: TrainingConfig,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    seed: int,
    *,
    checkpoint: Path | None = None,
    checkpoint_every: int = 1,
    resume: Path | None = None,
    log: Log = lambda step, values: None,
) -> Trained:
    """Train on the device where `images` and `labels` lie, and return the network of the final epoch.

    The state is written to `checkpoint` every `checkpoint_every` epochs and after the last one; training continues from
    `resume`, to the very bytes that an unbroken training would have given. `log(epoch, values)` is called after each
    epoch with its history row and `images_per_second`; what it raises ends the training.

    Raises FloatingPointError at the end of an epoch with a non-finite loss, ValueError for a state of another
    configuration, OSError if a checkpoint cannot be written.
    """
    belongs_to = {**asdict(model_config), **asdict(config), "seed": seed}
    state = _initial_state(model_config, config, seed, images.device)
    if resume is not None:
        state = _restored(state, resume, belongs_to)
    training, validation = _split(images, labels, config.validation, seed)
    done = len(state.history)
    total = config.epochs * len(training.labels)
    with tqdm(total=total, initial=done * len(training.labels), unit="img", disable=None, leave=False) as bar:
        for epoch in range(done + 1, config.epochs + 1):
            bar.set_description(f"seed {seed} epoch {epoch}/{config.epochs}")
            start = time.perf_counter()
            row = _train_epoch(state, config, training, seed, epoch, bar, checkpoint)
            speed = len(training.labels) / (time.perf_counter() - start)
            if validation is not None:
                row |= _validate(state.model, config, validation, epoch)
            state.history.append(row)
            if checkpoint is not None and (epoch % checkpoint_every == 0 or epoch == config.epochs):
                save_state(checkpoint, _tensors(state), belongs_to, state.history)
            bar.set_postfix(loss=f"{row['train_loss']:.4g}", accuracy=f"{row['train_accuracy']:.2f} %")
            log(epoch, {**measured(row), "images_per_second": speed})
    return Trained(state.model, state.history)


def measured(row: Row) -> dict[str, float]:
    """Return the values of a history row that were measured: no epoch, nothing that does not apply."""
    return {name: value for name, value in row.items() if name != "epoch" and value is not None}


def stream(seed: int, *name: object, device: torch.device | str = "cpu") -> Generator:
    """Return a generator of its own for one use of one seed, such as `stream(0, "order", epoch)`.

    Independent streams mean that switching augmentation off leaves initialisation and order as they were, and naming
    the epoch means that a resumed training needs no generator state.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *name))).encode()).digest()
    return Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def initialise(config: ModelConfig, seed: int) -> CapsNet:
    """Build a network on the CPU with the initial weights of `seed`; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "initialisation").initial_seed())
        return CapsNet(config)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return Adam's learning rate for the update after `step` updates."""
    decayed = config.lr * math.pow(config.lr_decay, step / config.lr_decay_steps)
    return max(decayed, min(config.lr, config.lr_floor))


def _initial_state(model_config: ModelConfig, config: TrainingConfig, seed: int, device: torch.device) -> _State:
    model = initialise(model_config, seed).to(device)
    # Convolutions with channels last take a sixth off a step on a CPU.
    for part in (model.encoder, model.decoder):
        if part is not None:
            part.to(memory_format=torch.channels_last)
    return _State(model, torch.optim.Adam(model.parameters(), config.lr, fused=True), [])


def _tensors(state: _State) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        for key, value in state.optimizer.state[parameter].items():
            tensors[f"optimizer.{name}.{key}"] = value
    return tensors


def _restored(state: _State, path: Path, belongs_to: Mapping[str, Any]) -> _State:
    tensors, history = load_state(path, belongs_to)
    state.model.load_state_dict(
        {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    )
    for name, parameter in state.model.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            value = tensors[f"optimizer.{name}.{key}"].to(parameter.device)
            # The fused update walks through memory: its averages have to lie there as the parameter does.
            like_parameter = torch.empty_like(parameter.detach())
            state.optimizer.state[parameter][key] = value if key == "step" else like_parameter.copy_(value)
    return state._replace(history=history)


def _split(
    images: UInt8[Tensor, "N C H W"], labels: Int64[Tensor, " N"], fraction: float, seed: int
) -> tuple[_Images, _Images | None]:
    if fraction == 0:
        return _Images(images, labels), None
    held_out = max(1, round(fraction * len(labels)))
    if held_out >= len(labels):
        raise ValueError(f"validation: got {fraction}, which leaves none of {len(labels)} images to train on")
    order = torch.randperm(len(labels), generator=stream(seed, "validation")).to(images.device)
    validation, training = order[:held_out], order[held_out:]
    return _Images(images[training], labels[training]), _Images(images[validation], labels[validation])


def _batches(order: Int64[Tensor, " N"], size: int) -> Iterator[Int64[Tensor, " B"]]:
    """Cut an epoch into batches; a single left-over image joins the last one, for batch normalisation needs two."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    yield from batches


def _validate(model: CapsNet, config: TrainingConfig, data: _Images, epoch: int) -> Row:
    rloss = RECONSTRUCTION_LOSSES[config.reconstruction]
    scores = evaluate(model, data.images, data.labels, rloss=rloss)
    alpha = ALPHA_SCHEDULES[config.alpha_schedule](config.alpha, epoch)
    return {
        "val_loss": scores.mloss + alpha * (scores.rloss or 0.0),
        "val_rloss": scores.rloss,
        "val_mloss": scores.mloss,
        "val_accuracy": scores.accuracy,
    }


def _train_epoch(
    state: _State,
    config: TrainingConfig,
    data: _Images,
    seed: int,
    epoch: int,
    bar: "tqdm[Any]",
    checkpoint: Path | None,
) -> Row:
    """Run one epoch without reading anything back from the device before its end."""
    model, optimizer, _ = state
    device = data.images.device
    alpha = ALPHA_SCHEDULES[config.alpha_schedule](config.alpha, epoch)
    order = torch.randperm(len(data.labels), generator=stream(seed, "order", epoch, device=device), device=device)
    augmentation = stream(seed, "augmentation", epoch, device=device)
    batches = list(_batches(order, config.batch_size))
    first_step = (epoch - 1) * len(batches)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    bad_step = torch.full((), -1, device=device)
    model.train()
    for step, chosen in enumerate(batches, first_step):
        labels = data.labels[chosen]
        pixels = shift(data.images[chosen], config.max_shift, augmentation) / 255
        optimizer.param_groups[0]["lr"] = learning_rate(config, step)
        optimizer.zero_grad(set_to_none=True)
        output = model(pixels, labels)
        mloss = margin_loss(output.lengths, labels)
        rloss = torch.zeros_like(mloss)
        if output.reconstruction is not None:
            rloss = RECONSTRUCTION_LOSSES[config.reconstruction](pixels, output.reconstruction)
        loss = (mloss + alpha * rloss).mean()
        loss.backward()
        optimizer.step()
        hits = output.lengths.detach().argmax(1) == labels
        sums += torch.stack([mloss.detach().sum(), rloss.detach().sum(), hits.sum()])
        bad_step = torch.where((bad_step < 0) & ~loss.detach().isfinite(), step, bad_step)
        bar.update(len(labels))
    last_step = first_step + len(batches) - 1
    # The loss of the last step says nothing yet about the weights that its update left.
    unbounded = torch.stack([~parameter.detach().isfinite().all() for parameter in model.parameters()]).any()
    bad_step = torch.where((bad_step < 0) & unbounded, last_step, bad_step)
    if bad_step.item() >= 0:
        kept = checkpoint if checkpoint is not None and checkpoint.exists() else "none yet"
        raise FloatingPointError(
            f"loss is not finite at step {bad_step.item()} (epoch {epoch}), learning rate "
            f"{learning_rate(config, int(bad_step.item())):.3g}; last good checkpoint: {kept}"
        )
    mloss_mean, rloss_mean, accuracy = (sums / len(data.labels)).tolist()
    return {
        "epoch": epoch,
        "lr": optimizer.param_groups[0]["lr"],
        "alpha": alpha,
        "train_loss": mloss_mean + alpha * rloss_mean,
        "train_rloss": rloss_mean if model.decoder else None,
        "train_mloss": mloss_mean,
        "train_accuracy": 100 * accuracy,
    }
