"""Training: seeds of one run side by side, every image once an epoch, each seed as if it were alone.

Axes: N images, C channels, H W height and width.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from tqdm import tqdm

from capsnet.networks.capsnet import CapsNet, NetworkConfig
from capsnet.networks.losses import RECONSTRUCTION_LOSSES
from capsnet.networks.saved import load_state, save_state
from capsnet.training.processes import Processes, joined
from capsnet.training.step import Trainer, stream
from capsnet.training.tasks import TASKS

# Reconstruction weight in epoch 1, 2, ...; the two annealed schedules are the reference study's.
ALPHA_SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "constant": lambda alpha, epoch: alpha,
    "tanh_delayed": lambda alpha, epoch: alpha * (math.tanh(epoch / 8 - math.pi) + 1) / 2,
    "tanh": lambda alpha, epoch: alpha * math.tanh(epoch / 16),
}

RISING = 0.3  # share of one cycle in which the learning rate rises, and where it starts: torch's OneCycleLR
FIRST_RATE = 1 / 25


def decaying(config: "TrainingConfig", step: int, steps: int) -> float:
    """Decay by `lr_decay` per `lr_decay_steps` steps, continuously."""
    return config.lr * math.pow(config.lr_decay, step / config.lr_decay_steps)


def decaying_by_epochs(config: "TrainingConfig", step: int, steps: int) -> float:
    """Decay by `lr_decay` after each epoch."""
    return config.lr * math.pow(config.lr_decay, step // steps)


def one_cycle(config: "TrainingConfig", step: int, steps: int) -> float:
    """Rise along a cosine from a 25th of `lr` to `lr`, and fall along another to nothing (Smith and Topin 2019)."""
    done = step / (config.epochs * steps)
    if done < RISING:
        return config.lr * (1 - (1 - FIRST_RATE) * (1 + math.cos(math.pi * done / RISING)) / 2)
    return config.lr * (1 + math.cos(math.pi * (done - RISING) / (1 - RISING))) / 2


# The learning rate for the update after `step` updates, with so many steps an epoch.
LR_SCHEDULES: dict[str, Callable[["TrainingConfig", int, int], float]] = {
    "decay": decaying,
    "epochs": decaying_by_epochs,
    "one_cycle": one_cycle,
}
TO_THE_END = {"one_cycle"}  # schedules that a training cannot outlast

Row = dict[str, float | int | None]
Log = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class TrainingConfig:
    """Everything but the architecture, the data and the seed that decides the outcome of a training."""

    task: str  # a key of TASKS
    epochs: int
    batch_size: int
    lr: float  # Adam's learning rate at step 0, or the highest
    lr_schedule: str  # a key of LR_SCHEDULES
    lr_decay: float  # factor per `lr_decay_steps` steps, or per epoch; 1 for none
    lr_decay_steps: int
    lr_floor: float  # the learning rate never falls below
    margin_weight: float  # of the margin loss, a sum over classes and a mean over images
    alpha: float  # weight of the reconstruction loss, on the sum over pixels
    alpha_schedule: str  # a key of ALPHA_SCHEDULES
    decoded_share: float  # of each batch that is reconstructed, and stands for the rest; 1 for all
    reconstruction: str  # a key of RECONSTRUCTION_LOSSES
    max_shift: int  # pixels by which a training image is shifted at most, in x and in y
    flip: bool  # exchange left and right in half of the training images, drawn anew each epoch
    rotation: float  # degrees by which a training image is rotated at most; 0 for none
    rotation_share: float  # of the training images, that are rotated
    squeeze: float  # largest share of its width that a training image loses; 0 for none
    scale: float  # largest share by which a training image becomes larger or smaller; 0 for none
    erase: int  # side of a square that is erased from each training image, in pixels; 0 for none
    brightness: float  # largest change of a training image's brightness, in grey levels of 255; 0 for none
    brightness_change: str  # a key of BRIGHTNESS_CHANGES
    contrast: tuple[float, float]  # lowest and highest factor on a training image's contrast; (1, 1) for none
    clip_pixels: bool  # cut off at 0 and 1 after these two; a decoder's target always is
    validation: float  # fraction of the training images held out for validation; 0 for none
    precision: str  # a key of trainer.PRECISIONS; capsules and losses are in float32 whatever it says


class Trained(NamedTuple):
    """The network after the last epoch, on its device, and one row of `history.csv` an epoch."""

    model: CapsNet
    history: list[Row]


@dataclass(frozen=True)
class Course:
    """The training of one seed: where it starts, where its state is written, and who is told after each epoch."""

    seed: int
    checkpoint: Path | None = None
    resume: Path | None = None
    log: Log = lambda epoch, values: None


@dataclass
class _Progress:
    """A course on its way."""

    course: Course
    trainer: Trainer
    validation: Int64[Tensor, " V"] | None  # places of the images held out
    belongs_to: Mapping[str, Any]
    history: list[Row]

    @property
    def number(self) -> int:
        """Number of images of an epoch."""
        return len(self.trainer.members)


def train(
    model_config: NetworkConfig,
    config: TrainingConfig,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    seed: int,
    *,
    groups: Int64[Tensor, " N"] | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 1,
    resume: Path | None = None,
    log: Log = lambda epoch, values: None,
) -> Trained:
    """Train one seed; see `train_side_by_side`."""
    courses = [Course(seed, checkpoint, resume, log)]
    return train_side_by_side(
        model_config, config, images, labels, courses, groups=groups, checkpoint_every=checkpoint_every
    )[0]


def train_side_by_side(
    model_config: NetworkConfig,
    config: TrainingConfig,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    courses: Sequence[Course],
    *,
    groups: Int64[Tensor, " N"] | None = None,
    checkpoint_every: int = 1,
) -> list[Trained]:
    """Train on the device where `images` and `labels` lie, and return the networks of the final epoch.

    Of images larger than the network's, training sees squares cut out at random, validation the centre. Images of one
    of the `groups`, if there are any, are held out for validation together.
    A GPU interleaves the steps of all courses, a CPU trains an epoch of one after the other; each gives what it would
    give alone. A state is written to a course's `checkpoint` every `checkpoint_every` epochs and after the last one;
    training continues from its `resume`, to the very bytes that an unbroken training would have given. Its
    `log(epoch, values)` is called after each epoch with the history row and `images_per_second`; what it raises ends
    the training. In a group of processes (torch.distributed) each trains on its share of every batch, and only the
    first writes and logs.

    Raises FloatingPointError at the end of an epoch with a non-finite loss, ValueError for a state of another
    configuration, for images that the task cannot be trained or validated on, and for batches too small for batch
    normalisation, OSError if a checkpoint cannot be written.
    """
    processes = joined()
    courses_on_the_way = [_start(course, model_config, config, images, labels, groups, processes) for course in courses]
    done = min(len(progress.history) for progress in courses_on_the_way)
    with tqdm(
        total=config.epochs * sum(progress.number for progress in courses_on_the_way),
        initial=sum(len(progress.history) * progress.number for progress in courses_on_the_way),
        unit="img",
        disable=None if processes.rank == 0 else True,
        leave=False,
    ) as bar:
        for epoch in range(done + 1, config.epochs + 1):
            bar.set_description(f"epoch {epoch}/{config.epochs}")
            behind = [progress for progress in courses_on_the_way if len(progress.history) < epoch]
            seconds = _run_epoch(behind, config, epoch, bar)
            for progress, elapsed in zip(behind, seconds, strict=True):
                row = _finish_epoch(progress, config, epoch)
                course = progress.course
                if processes.rank > 0:
                    continue
                if course.checkpoint is not None and (epoch % checkpoint_every == 0 or epoch == config.epochs):
                    tensors = progress.trainer.tensors()
                    save_state(course.checkpoint, tensors, progress.belongs_to, progress.history)
                bar.set_postfix(loss=f"{row['train_loss']:.4g}", accuracy=f"{row['train_accuracy']:.2f} %")
                course.log(epoch, {**measured(row), "images_per_second": progress.number / elapsed})
    return [Trained(progress.trainer.model, progress.history) for progress in courses_on_the_way]


def measured(row: Row) -> dict[str, float]:
    """Return the values of a history row that were measured: no epoch, nothing that does not apply."""
    return {name: value for name, value in row.items() if name != "epoch" and value is not None}


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Return Adam's learning rate for the update after `step` updates, with so many `steps` an epoch."""
    return max(LR_SCHEDULES[config.lr_schedule](config, step, steps), min(config.lr, config.lr_floor))


def batch_sizes(number: int, size: int) -> list[int]:
    """Cut an epoch into batches; a single left-over image joins the last one, for batch normalisation needs two."""
    sizes = [size] * (number // size) + ([number % size] if number % size else [])
    if len(sizes) > 1 and number % size == 1:
        sizes[-2:] = [size + 1]
    return sizes


def trainer_of(
    model_config: NetworkConfig,
    config: TrainingConfig,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    members: Int64[Tensor, " T"],
    seed: int,
    processes: Processes,
) -> Trainer:
    """Return the trainer of one seed, on the device of `images`, of which it trains on `members`."""
    return Trainer(
        model_config,
        images,
        labels,
        members,
        seed,
        examples=TASKS[config.task].examples(
            labels[members],
            images.shape[2],
            model_config.image_size,
            max_shift=config.max_shift,
            flip=config.flip,
            rotation=config.rotation,
            rotation_share=config.rotation_share,
            squeeze=config.squeeze,
            scale=config.scale,
            erase=config.erase,
            brightness=config.brightness,
            brightness_change=config.brightness_change,
            contrast=config.contrast,
            clip_pixels=config.clip_pixels,
        ),
        margin_weight=config.margin_weight,
        decoded_share=config.decoded_share,
        reconstruction=config.reconstruction,
        precision=config.precision,
        processes=processes,
    )


def _start(
    course: Course,
    model_config: NetworkConfig,
    config: TrainingConfig,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    groups: Int64[Tensor, " N"] | None,
    processes: Processes,
) -> _Progress:
    training, validation = _split(labels, config.validation, course.seed, groups)
    TASKS[config.task].require(labels[training], "training images")
    if validation is not None:
        TASKS[config.task].require(labels[validation], "validation images")
    smallest = min(batch_sizes(len(training), config.batch_size))
    if model_config.normalises_batches and smallest < max(2, processes.number):
        raise ValueError(
            f"batch_norm: got a batch of {smallest} of {len(training)} images, expected at least "
            f"{max(2, processes.number)}"
        )
    trainer = trainer_of(model_config, config, images, labels, training, course.seed, processes)
    belongs_to = {"network": model_config.network, **asdict(model_config), **asdict(config), "seed": course.seed}
    if config.lr_schedule in TO_THE_END:
        belongs_to["lr_schedule"] = f"{config.lr_schedule} of {config.epochs} epochs"
    history: list[Row] = []
    if course.resume is not None:
        tensors, history = load_state(course.resume, belongs_to)
        trainer.restore(tensors)
    return _Progress(course, trainer, validation, belongs_to, history)


def _split(
    labels: Int64[Tensor, " N"], fraction: float, seed: int, groups: Int64[Tensor, " N"] | None
) -> tuple[Int64[Tensor, " T"], Int64[Tensor, " V"] | None]:
    """Return the places of the images to train on, and of those held out: a share of the images, or of the groups."""
    if fraction == 0:
        return torch.arange(len(labels), device=labels.device), None
    names = torch.arange(len(labels), device=labels.device) if groups is None else groups.unique()
    held_out = max(1, round(fraction * len(names)))
    if held_out >= len(names):
        kind = "images" if groups is None else "groups of images"
        raise ValueError(f"validation: got {fraction}, which leaves none of {len(names)} {kind} to train on")
    order = names[torch.randperm(len(names), generator=stream(seed, "validation")).to(names.device)]
    if groups is None:
        return order[held_out:], order[:held_out]
    chosen = torch.isin(groups, order[:held_out])
    return torch.nonzero(~chosen).flatten(), torch.nonzero(chosen).flatten()


def _run_epoch(courses: Sequence[_Progress], config: TrainingConfig, epoch: int, bar: "tqdm[Any]") -> list[float]:
    """Run an epoch of each course; return how many seconds each took."""
    alpha = ALPHA_SCHEDULES[config.alpha_schedule](config.alpha, epoch)
    epochs = []
    for progress in courses:
        sizes = batch_sizes(progress.number, config.batch_size)
        first = (epoch - 1) * len(sizes)
        rates = [learning_rate(config, step, len(sizes)) for step in range(first, first + len(sizes))]
        epochs.append(progress.trainer.epoch(epoch, sizes, rates, alpha))
    if courses[0].trainer.interleaves:
        start = time.perf_counter()
        for size in chain.from_iterable(zip_longest(*epochs, fillvalue=0)):
            bar.update(size)
        torch.cuda.synchronize()
        return [time.perf_counter() - start] * len(courses)
    seconds = []
    for steps in epochs:
        start = time.perf_counter()
        for size in steps:
            bar.update(size)
        if courses[0].trainer.images.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds


def _finish_epoch(progress: _Progress, config: TrainingConfig, epoch: int) -> Row:
    """Read what the epoch gave and add its row to the history."""
    course, trainer = progress.course, progress.trainer
    means = trainer.means()
    steps = len(trainer.rates)
    alpha = ALPHA_SCHEDULES[config.alpha_schedule](config.alpha, epoch)
    if means.bad_step >= 0:
        bad_step = (epoch - 1) * steps + means.bad_step
        kept = course.checkpoint if course.checkpoint is not None and course.checkpoint.exists() else "none yet"
        raise FloatingPointError(
            f"loss is not finite at step {bad_step} (epoch {epoch}), learning rate "
            f"{learning_rate(config, bad_step, steps):.3g}; last good checkpoint: {kept}"
        )
    row: Row = {
        "epoch": epoch,
        "lr": learning_rate(config, epoch * steps - 1, steps),
        "alpha": alpha,
        "train_loss": config.margin_weight * means.mloss + alpha * means.rloss,
        "train_rloss": means.rloss if trainer.model.decoder else None,
        "train_mloss": means.mloss,
        "train_accuracy": means.accuracy,
    }
    if progress.validation is not None:
        row |= _validate(trainer, progress.validation, config, alpha)
    progress.history.append(row)
    return row


def _validate(trainer: Trainer, held_out: Int64[Tensor, " V"], config: TrainingConfig, alpha: float) -> Row:
    rloss = RECONSTRUCTION_LOSSES[config.reconstruction]
    scores = TASKS[config.task].validate(
        trainer.model,
        trainer.images[held_out],
        trainer.labels[held_out],
        stream(trainer.seed, "validation", "partners"),
        rloss,
    )
    return {
        "val_loss": config.margin_weight * scores.mloss + alpha * (scores.rloss or 0.0),
        "val_rloss": scores.rloss,
        "val_mloss": scores.mloss,
        "val_accuracy": scores.accuracy,
    }
