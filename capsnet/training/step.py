"""The training of one seed on its device: the network, its optimiser, and the step that updates both.

Axes: M all images, N images that are trained on, Q images of all examples of an epoch, B batch, E steps of an epoch,
C channels, H W height and width.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from capsnet.evaluation.recognition import correct
from capsnet.networks.capsnet import NetworkConfig
from capsnet.networks.losses import RECONSTRUCTION_LOSSES, margin_loss
from capsnet.training.optimiser import adam, state_by_name
from capsnet.training.processes import Processes
from capsnet.training.replay import StepReplayer
from capsnet.training.seeds import generator_for, initialise
from capsnet.training.tasks import TASKS, Batch
from capsnet.training.training_config import TrainingConfig

# The type of convolutions and decoder. TensorFloat-32 rounds the factors of convolutions to 10 bits on a GPU that has
# it, as torch does by default; on a CPU it is float32.
PRECISIONS = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}


class Means(NamedTuple):
    """Means over the images of an epoch, each scored with the weights before its step.

    `bad_step` is the first step with a loss or weight that is not finite, or -1.
    """

    mloss: float
    rloss: float
    accuracy: float  # percent
    bad_step: int


class EpochPlan(NamedTuple):
    """What the steps of an epoch read; it lies on the device before the first step."""

    order: Int64[Tensor, " Q"]  # places of the images of each example
    drawn: list[Tensor]  # what each change of the augmentation drew, with an entry for each image along the last axis
    alpha: Float[Tensor, ""]
    rates: Float[Tensor, " E"]  # the learning rate of each step


class Counters(NamedTuple):
    """What the steps of an epoch count on the device."""

    first: Int64[Tensor, ""]  # place of the next batch among the examples of the epoch
    step: Int64[Tensor, ""]  # number of the next step in the epoch
    bad_step: Int64[Tensor, ""]  # number of the first step whose loss was not finite, or -1
    sums: Float64[Tensor, "3"]  # margin loss, reconstruction loss and hits

    def reset(self) -> None:
        """Start a new epoch."""
        for counter in (self.first, self.step, self.sums):
            counter.zero_()
        self.bad_step.fill_(-1)


@contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Set for the block whether convolutions on a GPU may round their factors to TensorFloat-32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class Trainer:
    """Everything that the steps of one seed read and write, all of it on the device of `images`.

    A step takes nothing from Python and gives nothing back: the examples, augmentation and learning rates of an epoch
    are on the device before its first step, and its sums are read after its last step. Therefore a GPU can capture
    a step and replay it (`capsnet.training.replay`).
    """

    def __init__(
        self,
        model_config: NetworkConfig,
        config: TrainingConfig,
        images: UInt8[Tensor, "M C H W"],
        labels: Int64[Tensor, " M"],
        members: Int64[Tensor, " N"],
        seed: int,
        processes: Processes,
    ) -> None:
        """Prepare to train on the images at the places `members`."""
        device = images.device
        self.config, self.images, self.labels, self.members = config, images, labels, members
        self.seed, self.processes = seed, processes
        self.task = TASKS[config.task](config, images.shape[2], model_config.image_size)
        self.precision = PRECISIONS[config.precision]
        self.reconstruction_loss = RECONSTRUCTION_LOSSES[config.reconstruction]
        self.model = initialise(model_config, seed).to(device)
        for part in (self.model.encoder, self.model.decoder):
            if part is not None:
                part.to(memory_format=torch.channels_last)
        self.forward: Callable[..., Any] = processes.share(self.model)
        self.lr = torch.zeros((), device=device)
        self.optimizer = adam(self.model, self.lr)
        order = members.new_empty(len(members) * self.task.images_per_example)
        alpha, rates = torch.zeros((), device=device), torch.empty(0, device=device)
        self.plan = EpochPlan(order, self._draw(0, len(order)), alpha, rates)
        first, step, bad_step = (torch.zeros((), dtype=torch.int64, device=device) for _ in range(3))
        self.counters = Counters(first, step, bad_step, torch.zeros(3, dtype=torch.float64, device=device))
        # A step in which several processes exchange gradients cannot be captured.
        self.replayer = self.build_replayer() if images.is_cuda and processes.number == 1 else None

    def build_replayer(self) -> StepReplayer:
        """Return what captures and replays the steps of this trainer."""
        return StepReplayer(
            self._step, lambda: [*self.tensors().values(), *self.counters], self.optimizer, self.images.device
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of network and optimiser, not copies of them, by name."""
        of_model = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        of_optimizer = state_by_name(self.model, self.optimizer)
        return of_model | {f"optimizer.{name}": tensor for name, tensor in of_optimizer.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy a state that `tensors` returned, here or on another device, into network and optimiser."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def epoch(self, epoch: int, sizes: list[int], rates: list[float], alpha: float) -> Iterator[int]:
        """Train one epoch with batches of these sizes and a learning rate for each; yield the size after each step.

        Order and augmentation depend on seed and epoch alone. Nothing is read from the device.
        """
        self._lay_out(epoch, rates, alpha)
        self.counters.reset()
        self.model.train()
        if self.replayer is None:
            for size in sizes:
                self._step(size)
                yield size
            return
        self.replayer.begin()
        for size in sizes:
            self.replayer.run(size)
            yield size
        self.replayer.end()

    def means(self) -> Means:
        """Read the means of the epoch: the only time that Python waits for the device."""
        # The loss of the last step does not show whether the weights after its update are finite.
        unbounded = torch.stack([~parameter.detach().isfinite().all() for parameter in self.model.parameters()]).any()
        earlier = self.counters.bad_step
        bad_step = torch.where((earlier < 0) & unbounded, self.counters.step - 1, earlier)
        sums, bad_step = self.processes.reduce(self.counters.sums, bad_step)
        mloss, rloss, accuracy = (sums / len(self.members)).tolist()
        return Means(mloss, rloss, 100 * accuracy, int(bad_step.item()))

    def _lay_out(self, epoch: int, rates: list[float], alpha: float) -> None:
        """Lay out on the device what the steps of an epoch read, in the same memory as for the epoch before."""
        number, device = len(self.members), self.images.device
        order = torch.randperm(number, generator=generator_for(self.seed, "order", epoch, device=device), device=device)
        partners = generator_for(self.seed, "partners", epoch, device=device)
        self.plan.order.copy_(self.task.choose(self.members[order], self.labels, partners))
        for kept, drawn in zip(self.plan.drawn, self._draw(epoch, len(self.plan.order)), strict=True):
            kept.copy_(drawn)
        if len(self.plan.rates) != len(rates):
            self.plan = self.plan._replace(rates=torch.empty(len(rates), device=device))
            if self.replayer is not None:
                self.replayer.forget()
        self.plan.rates.copy_(torch.tensor(rates))
        self.plan.alpha.fill_(alpha)

    def _draw(self, epoch: int, number: int) -> list[Tensor]:
        """Draw the random numbers of each change of the augmentation, for all images of an epoch."""
        device = self.images.device
        return [
            change.draw(number, generator=generator_for(self.seed, change.use, epoch, device=device))
            for change in self.task.augmentation.changes
        ]

    def _step(self, size: int) -> None:
        """Train on the next `size` examples of the epoch, or on this process's share of them."""
        with tensor_float_32(self.config.precision == "tf32"):
            self._train_batch(size)

    def _train_batch(self, size: int) -> None:
        first, step, bad_step, sums = self.counters
        batch = self._batch(self.processes.shared(first + torch.arange(size, device=self.images.device)))
        self.lr.copy_(self.plan.rates.take(step))
        self.optimizer.zero_grad(set_to_none=True)
        # Without the cache of casts: each weight is cast only once in a step, and a graph must not keep a cast of
        # another step.
        with torch.autocast(
            batch.pixels.device.type, self.precision, enabled=self.precision != torch.float32, cache_enabled=False
        ):
            output = self.forward(batch.pixels, batch.labels, **self._decoded(len(batch.pixels)))
        mloss = margin_loss(output.lengths, batch.labels)
        rloss = torch.zeros_like(mloss)
        if output.reconstruction is not None:
            rloss = self._rloss(batch.targets, output.reconstruction)
        loss = (self.config.margin_weight * mloss + self.plan.alpha * rloss).sum() / size
        (loss * self.processes.number).backward()
        self.optimizer.step()
        hits = correct(output.lengths.detach(), batch.labels)
        sums += torch.stack([mloss.detach().sum(), rloss.detach().sum(), hits.sum()])
        bad_step.copy_(torch.where((bad_step < 0) & ~loss.detach().isfinite(), step, bad_step))
        first += size
        step += 1

    def _decoded(self, number: int) -> dict[str, int]:
        """Return the argument that limits how many of `number` images are reconstructed, unless all are."""
        share = self.config.decoded_share
        return {} if share == 1 else {"decoded": max(1, round(share * number))}

    def _rloss(self, targets: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the reconstruction loss of each image.

        If only the first images are reconstructed, their losses are scaled up to stand for the others, whose loss is 0.
        """
        number, decoded = len(targets), len(reconstruction)
        rloss = self.reconstruction_loss(targets[:decoded], reconstruction)
        if decoded == number:
            return rloss
        return torch.cat([rloss * (number / decoded), rloss.new_zeros(number - decoded)])

    def _batch(self, places: Int64[Tensor, " B"]) -> Batch:
        """Make the examples at `places` of the epoch."""
        number = self.task.images_per_example
        each = (number * places.unsqueeze(1) + torch.arange(number, device=places.device)).flatten()
        chosen = self.plan.order[each]
        drawn = [values[..., each] for values in self.plan.drawn]
        images = self.task.augmentation(self.images[chosen], drawn)
        return self.task.compose(images, self.labels[chosen])
