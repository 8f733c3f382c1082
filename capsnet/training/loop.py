"""Training: several seeds of a run side by side. Each gives the same bytes as if it were trained alone.

Axes: N images, V images held out, C channels, H W height and width.
"""

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

from capsnet.data.pairs import require_classes
from capsnet.networks.capsnet import CapsNet, NetworkConfig
from capsnet.networks.losses import RECONSTRUCTION_LOSSES
from capsnet.training.checkpoint import load_state, save_state
from capsnet.training.held_out import hold_out
from capsnet.training.processes import Processes, joined
from capsnet.training.schedules import ALPHA_SCHEDULES, DEPENDS_ON_EPOCHS, learning_rate
from capsnet.training.seeds import generator_for
from capsnet.training.step import Trainer
from capsnet.training.tasks import TASKS
from capsnet.training.training_config import TrainingConfig

HistoryRow = dict[str, float | int | None]
Log = Callable[[int, Mapping[str, float]], None]


class Trained(NamedTuple):
    """The network after the last epoch, on its device, and one row of `history.csv` for each epoch."""

    model: CapsNet
    history: list[HistoryRow]


def _no_log(epoch: int, values: Mapping[str, float]) -> None:
    """Discard the values of an epoch."""


def _never() -> bool:
    """Never stop the training before its end."""
    return False


@dataclass(frozen=True)
class Course:
    """The training of one seed."""

    seed: int
    checkpoint: Path | None = None  # file that its state is written to
    resume: Path | None = None  # file with the state that it continues from
    log: Log = _no_log  # called after each epoch with its number and values


@dataclass
class _Progress:
    """A course that is being trained."""

    course: Course
    trainer: Trainer
    validation: Int64[Tensor, " V"] | None  # places of the images held out
    belongs_to: Mapping[str, Any]
    history: list[HistoryRow]

    @property
    def number(self) -> int:
        """Number of images in an epoch."""
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
    log: Log = _no_log,
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
    stop: Callable[[], bool] = _never,
) -> list[Trained]:
    """Train on the device where images and labels lie, and return each network after its last epoch.

    Each course gives the same bytes as if it were trained alone. A GPU interleaves the steps of all courses; a CPU
    trains an epoch of one after the other. In a group of processes (torch.distributed), each process trains on its
    share of every batch, and only the first one writes and logs.

    Args:
        model_config: The architecture.
        config: The settings of the training.
        images: Those larger than the network's are cropped: at random for training, to their centre for validation.
        labels: The class of each image.
        courses: The seeds, each with its files and its log. A course that resumes ends with the same bytes as an
            unbroken one. `log(epoch, values)` gets the history row and `images_per_second`; what it raises ends the
            training.
        groups: Images with equal numbers here are held out for validation together.
        checkpoint_every: Epochs between two training states; one is also written after the last epoch.
        stop: Called after each epoch but the last. If it returns true, the states of all courses are written, and the
            training ends with KeyboardInterrupt.

    Raises:
        FloatingPointError: At the end of an epoch in which a loss was not finite.
        ValueError: For a state of another configuration, images that the task cannot train or validate on, or batches
            too small for batch normalisation.
        OSError: If a training state cannot be written.
    """
    processes = joined()
    started = [_start(course, model_config, config, images, labels, groups, processes) for course in courses]
    done = min(len(progress.history) for progress in started)
    with tqdm(
        total=config.epochs * sum(progress.number for progress in started),
        initial=sum(len(progress.history) * progress.number for progress in started),
        unit="img",
        disable=None if processes.rank == 0 else True,
        leave=False,
    ) as bar:
        for epoch in range(done + 1, config.epochs + 1):
            bar.set_description(f"epoch {epoch}/{config.epochs}")
            behind = [progress for progress in started if len(progress.history) < epoch]
            seconds = _run_epoch(behind, config, epoch, bar)
            for progress, elapsed in zip(behind, seconds, strict=True):
                row = _finish_epoch(progress, config, epoch)
                course = progress.course
                if processes.rank > 0:
                    continue
                if epoch % checkpoint_every == 0 or epoch == config.epochs:
                    _save(progress)
                bar.set_postfix(loss=f"{row['train_loss']:.4g}", accuracy=f"{row['train_accuracy']:.2f} %")
                course.log(epoch, {**measured(row), "images_per_second": progress.number / elapsed})
            if epoch < config.epochs and stop():
                for progress in behind if epoch % checkpoint_every and processes.rank == 0 else ():
                    _save(progress)
                raise KeyboardInterrupt(f"stopped after epoch {epoch}; the same command continues from there")
    return [Trained(progress.trainer.model, progress.history) for progress in started]


def _save(progress: _Progress) -> None:
    """Write the training state of a course, if it has a file for it."""
    if progress.course.checkpoint is not None:
        state = progress.trainer.tensors()
        save_state(progress.course.checkpoint, state, progress.belongs_to, progress.history)


def measured(row: HistoryRow) -> dict[str, float]:
    """Return the values of a history row without the epoch, and without those that do not apply."""
    return {name: value for name, value in row.items() if name != "epoch" and value is not None}


def batch_sizes(number: int, size: int) -> list[int]:
    """Return the sizes of the batches of an epoch of `number` examples.

    A single left-over example joins the batch before it, because batch normalisation needs two.
    """
    full, left_over = divmod(number, size)
    sizes = [size] * full
    if left_over == 1 and full > 0:
        sizes[-1] += 1
    elif left_over > 0:
        sizes.append(left_over)
    return sizes


def _start(
    course: Course,
    model_config: NetworkConfig,
    config: TrainingConfig,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    groups: Int64[Tensor, " N"] | None,
    processes: Processes,
) -> _Progress:
    training, validation = hold_out(labels, config.validation, course.seed, groups)
    if TASKS[config.task].needs_two_classes:
        require_classes(labels[training], "training images")
        if validation is not None:
            require_classes(labels[validation], "validation images")
    smallest = min(batch_sizes(len(training), config.batch_size))
    if model_config.normalises_batches and smallest < max(2, processes.number):
        raise ValueError(
            f"batch_norm: got a batch of {smallest} of {len(training)} images, expected at least "
            f"{max(2, processes.number)}"
        )
    trainer = Trainer(model_config, config, images, labels, training, course.seed, processes)
    belongs_to = {"network": model_config.network, **asdict(model_config), **asdict(config), "seed": course.seed}
    if config.lr_schedule in DEPENDS_ON_EPOCHS:
        belongs_to["lr_schedule"] = f"{config.lr_schedule} of {config.epochs} epochs"
    history: list[HistoryRow] = []
    if course.resume is not None:
        tensors, history = load_state(course.resume, belongs_to)
        trainer.restore(tensors)
    return _Progress(course, trainer, validation, belongs_to, history)


def _run_epoch(courses: Sequence[_Progress], config: TrainingConfig, epoch: int, bar: "tqdm[Any]") -> list[float]:
    """Run an epoch of each course; return the seconds that each took."""
    alpha = ALPHA_SCHEDULES[config.alpha_schedule](config.alpha, epoch)
    epochs = []
    for progress in courses:
        sizes = batch_sizes(progress.number, config.batch_size)
        first = (epoch - 1) * len(sizes)
        rates = [learning_rate(config, step, len(sizes)) for step in range(first, first + len(sizes))]
        epochs.append(progress.trainer.epoch(epoch, sizes, rates, alpha))
    if courses[0].trainer.replayer is not None:  # a GPU works on the steps of several trainers at the same time
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


def _finish_epoch(progress: _Progress, config: TrainingConfig, epoch: int) -> HistoryRow:
    """Read the means of the epoch and add its row to the history."""
    course, trainer = progress.course, progress.trainer
    means = trainer.means()
    steps_an_epoch = len(trainer.plan.rates)
    alpha = ALPHA_SCHEDULES[config.alpha_schedule](config.alpha, epoch)
    if means.bad_step >= 0:
        bad_step = (epoch - 1) * steps_an_epoch + means.bad_step
        kept = course.checkpoint if course.checkpoint is not None and course.checkpoint.exists() else "none yet"
        raise FloatingPointError(
            f"loss is not finite at step {bad_step} (epoch {epoch}), learning rate "
            f"{learning_rate(config, bad_step, steps_an_epoch):.3g}; last good checkpoint: {kept}"
        )
    row: HistoryRow = {
        "epoch": epoch,
        "lr": learning_rate(config, epoch * steps_an_epoch - 1, steps_an_epoch),
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


def _validate(trainer: Trainer, held_out: Int64[Tensor, " V"], config: TrainingConfig, alpha: float) -> HistoryRow:
    """Score the network on the images held out."""
    rloss = RECONSTRUCTION_LOSSES[config.reconstruction]
    scores = TASKS[config.task].validate(
        trainer.model,
        trainer.images[held_out],
        trainer.labels[held_out],
        generator_for(trainer.seed, "validation", "partners"),
        rloss,
    )
    return {
        "val_loss": config.margin_weight * scores.mloss + alpha * (scores.rloss or 0.0),
        "val_rloss": scores.rloss,
        "val_mloss": scores.mloss,
        "val_accuracy": scores.accuracy,
    }
