"""One seed on its device: the network, its optimiser, and the step that trains both.

Axes: N images of an epoch, B batch, C channels, H W height and width.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64, UInt8
from torch import Generator, Tensor

from capsnet.evaluation.recognition import recognised
from capsnet.networks.capsnet import CapsNet, NetworkConfig
from capsnet.networks.losses import RECONSTRUCTION_LOSSES, margin_loss
from capsnet.training.processes import Processes
from capsnet.training.tasks import Batch, Examples

# The type of convolutions and decoder. TensorFloat-32 rounds the factors of convolutions to 10 bits on a GPU that has
# it, which is what torch does unless it is told otherwise; on a CPU it is float32.
PRECISIONS = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
WARM_UP = 3  # steps before a recording: libraries allocate and choose in them


class Means(NamedTuple):
    """What an epoch gave per image, with the weights as they were at each step; `bad_step` is -1 if all was finite."""

    mloss: float
    rloss: float
    accuracy: float  # percent
    bad_step: int


def stream(seed: int, *name: object, device: torch.device | str = "cpu") -> Generator:
    """Return a generator of its own for one use of one seed, such as `stream(0, "order", epoch)`.

    Independent streams mean that switching augmentation off leaves initialisation and order as they were, and naming
    the epoch means that a resumed training needs no generator state.
    """
    digest = hashlib.sha256("/".join(map(str, (seed, *name))).encode()).digest()
    return Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Say for the block whether convolutions on a GPU may round their factors to TensorFloat-32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def initialise(config: NetworkConfig, seed: int) -> CapsNet:
    """Build a network on the CPU with the initial weights of `seed`; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream(seed, "initialisation").initial_seed())
        return CapsNet(config)


class Trainer:
    """Owns everything that the steps of one seed read and write, all of it on the device of `images`.

    A step takes nothing from Python and gives nothing back: batches, augmentation and learning rates of an epoch are
    laid out on the device before its first step, and sums are read after its last. On a GPU a step is therefore
    recorded once for each size of batch, as a CUDA graph, and replayed on a stream of the seed's own, beside others.
    """

    def __init__(
        self,
        model_config: NetworkConfig,
        images: UInt8[Tensor, "M C H W"],
        labels: Int64[Tensor, " M"],
        members: Int64[Tensor, " N"],
        seed: int,
        *,
        examples: Examples,
        margin_weight: float,
        decoded_share: float,
        reconstruction: str,
        precision: str,
        processes: Processes,
    ) -> None:
        """Take images and labels of which `members` are trained on."""
        device = images.device
        self.images, self.labels, self.members = images, labels, members
        self.seed, self.examples, self.processes = seed, examples, processes
        self.margin_weight, self.decoded_share = margin_weight, decoded_share
        self.reconstruction_loss = RECONSTRUCTION_LOSSES[reconstruction]
        self.precision = PRECISIONS[precision]
        self.tensor_float = precision == "tf32"
        self.model = initialise(model_config, seed).to(device)
        for part in (self.model.encoder, self.model.decoder):
            if part is not None:
                part.to(memory_format=torch.channels_last)
        self.forward: Callable[..., Any] = processes.share(self.model)
        self.lr = torch.zeros((), device=device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), self.lr, fused=True)
        for parameter in self.model.parameters():
            self.optimizer.state[parameter] = {
                "step": torch.zeros((), device=device if images.is_cuda else None),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.order = members.new_empty(len(members) * examples.number)
        self.drawn = self._draw(0)
        self.alpha = torch.zeros((), device=device)
        self.rates = torch.empty(0, device=device)
        self.first = torch.zeros((), dtype=torch.int64, device=device)  # of the batch, among the images of the epoch
        self.step = torch.zeros((), dtype=torch.int64, device=device)  # within the epoch
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        # Gradients that several processes exchange are not recorded.
        self.stream = torch.cuda.Stream(device) if images.is_cuda and processes.number == 1 else None
        self.recorded: dict[int, torch.cuda.CUDAGraph] = {}

    @property
    def interleaves(self) -> bool:
        """Whether steps of several trainers had better take turns: a GPU works on them at the same time."""
        return self.stream is not None

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of network and optimiser by name, the very tensors."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{key}"] = value
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state that `tensors` returned, here or on another device."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def epoch(self, epoch: int, sizes: list[int], rates: list[float], alpha: float) -> Iterator[int]:
        """Train one epoch with batches of these sizes, a learning rate each; yield the size after each step.

        Order and augmentation depend on seed and epoch alone. Nothing is read from the device.
        """
        number, device = len(self.members), self.images.device
        order = torch.randperm(number, generator=stream(self.seed, "order", epoch, device=device), device=device)
        partners = stream(self.seed, "partners", epoch, device=device)
        self.order.copy_(self.examples.choose(self.members[order], self.labels, partners))
        for kept, drawn in zip(self.drawn, self._draw(epoch), strict=True):
            kept.copy_(drawn)
        if len(self.rates) != len(rates):
            self.rates = torch.empty(len(rates), device=device)
            self.recorded.clear()
        self.rates.copy_(torch.tensor(rates))
        self.alpha.fill_(alpha)
        for counter in (self.first, self.step, self.sums):
            counter.zero_()
        self.bad_step.fill_(-1)
        self.model.train()
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream(device))
        for size in sizes:
            self._run(size)
            yield size
        if self.stream is not None:
            torch.cuda.current_stream(device).wait_stream(self.stream)

    def _draw(self, epoch: int) -> list[Tensor]:
        """Draw what changes each image of an epoch."""
        number, device = len(self.order), self.images.device
        return [
            change.draw(number, generator=stream(self.seed, change.stream, epoch, device=device))
            for change in self.examples.augmentation.changes
        ]

    def means(self) -> Means:
        """Read what the epoch gave: the one time that Python waits for the device."""
        # The loss of the last step says nothing yet about the weights that its update left.
        unbounded = torch.stack([~parameter.detach().isfinite().all() for parameter in self.model.parameters()]).any()
        bad_step = torch.where((self.bad_step < 0) & unbounded, self.step - 1, self.bad_step)
        sums, bad_step = self.processes.reduce(self.sums, bad_step)
        mloss, rloss, accuracy = (sums / len(self.members)).tolist()
        return Means(mloss, rloss, 100 * accuracy, int(bad_step.item()))

    def _run(self, size: int) -> None:
        if self.stream is None:
            self._step(size)
            return
        with torch.cuda.stream(self.stream):
            if size not in self.recorded:
                self._record(size)
            self.recorded[size].replay()

    def _record(self, size: int) -> None:
        """Record a step as a CUDA graph; what the steps before it changed is put back.

        Each of those is the same step: further ones might lie behind the end of the epoch.
        """
        changed = [*self.tensors().values(), self.first, self.step, self.bad_step, self.sums]
        before = [tensor.clone() for tensor in changed]
        for _ in range(WARM_UP):
            self._step(size)
            for tensor, earlier in zip(changed, before, strict=True):
                tensor.copy_(earlier)
        graph = torch.cuda.CUDAGraph()
        # One recording leaves nothing in its memory that the next one would need: they can share it.
        pool = next((earlier.pool() for earlier in self.recorded.values()), None)
        self.optimizer.zero_grad(set_to_none=True)
        # Without this Adam refuses to be recorded, and with it warns elsewhere; the fused one computes the same.
        for group in self.optimizer.param_groups:
            group["capturable"] = True
        with torch.cuda.graph(graph, pool=pool, stream=self.stream):
            self._step(size)
        for group in self.optimizer.param_groups:
            group["capturable"] = False
        self.recorded[size] = graph

    def _step(self, size: int) -> None:
        """Train on the next `size` examples of the epoch, or on this process's share of them."""
        with tensor_float_32(self.tensor_float):
            self._train_batch(size)

    def _train_batch(self, size: int) -> None:
        batch = self._batch(self.processes.shared(self.first + torch.arange(size, device=self.images.device)))
        self.lr.copy_(self.rates.take(self.step))
        self.optimizer.zero_grad(set_to_none=True)
        # Without its cache: a weight is cast once a step anyway, and a recording must not keep another step's cast.
        with torch.autocast(
            batch.pixels.device.type, self.precision, enabled=self.precision != torch.float32, cache_enabled=False
        ):
            output = self.forward(batch.pixels, batch.labels, **self._decoded(len(batch.pixels)))
        mloss = margin_loss(output.lengths, batch.labels)
        rloss = torch.zeros_like(mloss)
        if output.reconstruction is not None:
            rloss = self._rloss(batch.targets, output.reconstruction)
        loss = (self.margin_weight * mloss + self.alpha * rloss).sum() / size
        (loss * self.processes.number).backward()
        self.optimizer.step()
        hits = recognised(output.lengths.detach(), batch.labels)
        self.sums += torch.stack([mloss.detach().sum(), rloss.detach().sum(), hits.sum()])
        self.bad_step.copy_(torch.where((self.bad_step < 0) & ~loss.detach().isfinite(), self.step, self.bad_step))
        self.first += size
        self.step += 1

    def _decoded(self, number: int) -> dict[str, int]:
        """Say how many of a number of images are reconstructed, unless all are."""
        return {} if self.decoded_share == 1 else {"decoded": max(1, round(self.decoded_share * number))}

    def _rloss(self, targets: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the reconstruction loss of each image; of a share of them it stands for the others, too."""
        number, decoded = len(targets), len(reconstruction)
        rloss = self.reconstruction_loss(targets[:decoded], reconstruction)
        if decoded == number:
            return rloss
        return torch.cat([rloss * (number / decoded), rloss.new_zeros(number - decoded)])

    def _batch(self, places: Int64[Tensor, " B"]) -> Batch:
        """Make the examples that stand at `places` of the epoch."""
        number = self.examples.number
        each = (number * places.unsqueeze(1) + torch.arange(number, device=places.device)).flatten()
        chosen = self.order[each]
        images = self.examples.augmentation(self.images[chosen], [drawn[..., each] for drawn in self.drawn])
        return self.examples.compose(images, self.labels[chosen])
