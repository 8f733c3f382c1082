"""What a GPU has to share with the CPU, the mathematics to rounding, and with itself: the same bytes twice, in a
captured step and in one that is not, beside other seeds and alone.

Axes: B batch, I lower capsules, J upper capsules, K pose size of a lower capsule, D pose size of an upper capsule.
"""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from like_a_gpu import waiting_forbidden
from routings import assert_close, implementations, oracle, random_capsules, routed
from torch import Tensor
from torch.nn import functional
from trainings import Data, assert_equal_states, assert_same_training, trainer_on

from capsnet.evaluation.separation import evaluate_pairs, fixed_pairs
from capsnet.kernels.convolution import conv2d
from capsnet.networks.capsnet import ModelConfig
from capsnet.training.loop import Course, Trained, train, train_side_by_side
from capsnet.training.seeds import generator_for, initialise
from capsnet.training.step import PRECISIONS, Trainer
from capsnet.training.training_config import TrainingConfig
from pipeline.runtime.device import configure_torch

LEAKY = pytest.mark.parametrize("leaky", [False, True], ids=["all", "leaky"])
PRECISION = pytest.mark.parametrize("precision", PRECISIONS)
# Two sizes of batch, so that there are two graphs; the first is replayed after the second was made.
SIZES, RATES, ALPHA = [12, 8, 12], [0.003, 0.002, 0.001], 0.0005

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def device() -> Iterator[torch.device]:
    """Set torch up as the stages do, and leave the CPU's tests as they were."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield configure_torch("cuda", 2).device
    torch.use_deterministic_algorithms(deterministic)
    torch.set_num_threads(threads)


@pytest.fixture
def there(tiny_data: Data, device: torch.device) -> Data:
    """The images and labels on the GPU."""
    images, labels = tiny_data
    return images.to(device), labels.to(device)


def epochs(seed: Trainer, *numbers: int) -> None:
    for epoch in numbers:
        assert list(seed.epoch(epoch, SIZES, RATES, ALPHA)) == SIZES


@pytest.mark.parametrize("implementation", implementations())
@LEAKY
@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
@pytest.mark.parametrize("sizes", [(33, 50, 10, 8, 16), (128, 96, 10, 8, 16), (7, 41, 2, 4, 32), (3, 29, 100, 16, 4)])
def test_routing_on_the_gpu_agrees_with_stored_votes_on_the_cpu_in_float64(
    implementation: str, iterations: int, leaky: bool, sizes: tuple[int, int, int, int, int], device: torch.device
) -> None:
    tensors = random_capsules(*sizes)
    options = {"iterations": iterations, "leaky": leaky}
    got = routed(implementation, *(each.to(device) for each in tensors), **options)
    assert_close(got, oracle(*tensors, **options))


@pytest.mark.parametrize("implementation", implementations())
def test_routing_of_bfloat16_and_under_autocast_is_in_float32_on_the_gpu(
    implementation: str, device: torch.device
) -> None:
    tensors = random_capsules(33, 50, 10, 8, 16, torch.bfloat16)
    with torch.autocast("cuda", torch.bfloat16):
        got = routed(implementation, *(each.to(device) for each in tensors))
    exact = oracle(*tensors)
    assert (got.capsules.cpu() - exact.capsules).abs().max() <= 1e-5 * exact.capsules.abs().max()


@pytest.mark.parametrize("implementation", implementations())
def test_routing_gives_equal_bytes_twice_on_the_gpu(implementation: str, device: torch.device) -> None:
    tensors = [each.to(device) for each in random_capsules(33, 50, 10, 8, 16)]
    for one, other in zip(routed(implementation, *tensors), routed(implementation, *tensors), strict=True):
        assert torch.equal(one, other)


@PRECISION
@pytest.mark.parametrize("leaky", [False, True], ids=["all", "leaky"])
def test_replayed_steps_are_the_steps_themselves(
    precision: str, leaky: bool, normalised: ModelConfig, there: Data, shifted: TrainingConfig
) -> None:
    """Batch normalisation, decoder and optimiser included; what was captured is not left in the first step's state."""
    config = replace(normalised, leaky_routing=leaky)
    replayed, eager = (trainer_on(there, config, replace(shifted, precision=precision)) for _ in range(2))
    eager.replayer = None
    for seed in (replayed, eager):
        epochs(seed, 1, 2)
        assert seed.means().bad_step == -1
    assert set(replayed.replayer.graphs) == set(SIZES)
    assert eager.replayer is None
    assert_equal_states(replayed, eager, 1e-6)


def test_replayed_steps_on_pairs_are_the_steps_themselves_and_python_never_waits_for_them(
    normalised: ModelConfig, there: Data, shifted: TrainingConfig
) -> None:
    field = replace(normalised, image_size=normalised.image_size + 2 * shifted.max_shift)
    replayed, eager = (trainer_on(there, field, replace(shifted, task="separate")) for _ in range(2))
    eager.replayer = None
    for seed in (replayed, eager):
        epochs(seed, 1)
        steps = seed.epoch(2, SIZES, RATES, ALPHA)
        next(steps)
        with waiting_forbidden():
            assert list(steps) == SIZES[1:]
        assert seed.means().bad_step == -1
    assert set(replayed.replayer.graphs) == set(SIZES)
    assert_equal_states(replayed, eager, 1e-6)


def test_pairs_are_scored_alike_on_the_gpu_and_the_cpu(tiny_model: ModelConfig, there: Data, tiny_data: Data) -> None:
    """The pairs of a seed are the same on every device."""
    model = initialise(replace(tiny_model, image_size=24), 0)
    on_cpu = evaluate_pairs(model, *tiny_data, fixed_pairs(model, *tiny_data, seed=0, per_image=2))
    model = model.to(there[0].device)
    on_gpu = evaluate_pairs(model, *there, fixed_pairs(model, *there, seed=0, per_image=2))
    torch.testing.assert_close(on_gpu.lengths.cpu(), on_cpu.lengths, rtol=1e-4, atol=1e-5)
    assert on_gpu.mloss == pytest.approx(on_cpu.mloss, rel=1e-4)


def test_a_step_is_captured_once_for_each_size_and_anew_when_the_number_of_steps_changes(
    tiny_model: ModelConfig, there: Data, shifted: TrainingConfig
) -> None:
    replayed, eager = (trainer_on(there, tiny_model, shifted) for _ in range(2))
    eager.replayer = None
    epochs(replayed, 1)
    first = dict(replayed.replayer.graphs)
    epochs(replayed, 2)
    assert replayed.replayer.graphs == first
    assert list(replayed.epoch(3, [12, 20], [0.003, 0.001], ALPHA)) == [12, 20]
    assert replayed.replayer.graphs[12] is not first[12]
    epochs(eager, 1, 2)
    list(eager.epoch(3, [12, 20], [0.003, 0.001], ALPHA))
    assert_equal_states(replayed, eager, 1e-6)


def test_an_earlier_trainer_that_becomes_garbage_in_a_capture_does_not_spoil_it(
    tiny_model: ModelConfig, there: Data, shifted: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search makes one trainer after the other in a process; a CUDA graph freed in a capture spoils it."""
    earlier, later = [trainer_on(there, tiny_model, shifted)], trainer_on(there, tiny_model, shifted)
    epochs(earlier[0], 1)
    step = later.replayer.step

    def leaving_garbage(size: int) -> None:
        if torch.cuda.is_current_stream_capturing():
            earlier.clear()  # it refers to its replayer and that to it, so the collector alone can free them
        step(size)

    monkeypatch.setattr(later.replayer, "step", leaving_garbage)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        epochs(later, 1)
    finally:
        gc.set_threshold(*before)
    assert set(later.replayer.graphs) == set(SIZES)
    assert later.means().bad_step == -1


def test_a_state_taken_over_reaches_the_replayed_steps(
    tiny_model: ModelConfig, there: Data, shifted: TrainingConfig
) -> None:
    trained, late = trainer_on(there, tiny_model, shifted), trainer_on(there, tiny_model, shifted)
    epochs(trained, 1)
    epochs(late, 1, 2)
    late.restore({name: tensor.cpu() for name, tensor in trained.tensors().items()})
    epochs(trained, 2)
    epochs(late, 2)
    assert_equal_states(late, trained, 0)


@PRECISION
def test_python_never_waits_for_the_gpu_between_replayed_steps(
    precision: str, normalised: ModelConfig, there: Data, shifted: TrainingConfig
) -> None:
    seed = trainer_on(there, normalised, replace(shifted, precision=precision))
    epochs(seed, 1)
    steps = seed.epoch(2, SIZES, RATES, ALPHA)
    next(steps)  # what belongs to an epoch is copied to the device before its first step
    with waiting_forbidden():
        assert list(steps) == SIZES[1:]
    assert seed.means().bad_step == -1


@PRECISION
def test_a_step_that_is_not_captured_does_not_wait_either(
    precision: str, normalised: ModelConfig, there: Data, shifted: TrainingConfig
) -> None:
    """Whatever a step waits for could not be captured, or would be read once and for all."""
    seed = trainer_on(there, normalised, replace(shifted, precision=precision))
    seed.replayer = None
    epochs(seed, 1)
    steps = seed.epoch(2, SIZES, RATES, ALPHA)
    next(steps)
    with waiting_forbidden():
        assert list(steps) == SIZES[1:]


@PRECISION
def test_two_trainings_on_the_gpu_are_equal_to_the_bit(
    precision: str, normalised: ModelConfig, eventful: TrainingConfig, there: Data, tmp_path: Path
) -> None:
    config = replace(eventful, precision=precision)
    first, second = (train(normalised, config, *there, 0) for _ in range(2))
    assert_same_training(tmp_path, first, second)


def test_a_training_on_the_gpu_goes_on_to_the_same_bytes(
    normalised: ModelConfig, eventful: TrainingConfig, there: Data, tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    train(normalised, replace(eventful, epochs=3), *there, 0, checkpoint=state)
    resumed = train(normalised, eventful, *there, 0, resume=state)
    assert_same_training(tmp_path, resumed, train(normalised, eventful, *there, 0))


@PRECISION
def test_seeds_side_by_side_are_what_they_are_alone(
    precision: str, normalised: ModelConfig, eventful: TrainingConfig, there: Data, tmp_path: Path
) -> None:
    """To the bit: each seed replays kernels of its own, on a stream and in memory of its own, in a fixed order."""
    config = replace(eventful, precision=precision)
    together = train_side_by_side(normalised, config, *there, [Course(seed) for seed in (0, 1, 5)])
    alone = [train(normalised, config, *there, seed) for seed in (0, 1, 5)]
    for one, other in zip(together, alone, strict=True):
        assert_alike(one, other, 1e-4)
    for one, other in zip(together, alone, strict=True):
        assert_same_training(tmp_path, one, other)


def test_the_gpu_trains_as_the_cpu_does_where_nothing_is_drawn(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, there: Data
) -> None:
    """One batch an epoch, for the order of the images is drawn on the device."""
    config = replace(tiny_training, epochs=3, batch_size=32)
    assert_alike(train(tiny_model, config, *there, 0), train(tiny_model, config, *tiny_data, 0), 1e-4)


def assert_alike(one: Trained, other: Trained, relative: float) -> None:
    for got, expected in zip(one.history, other.history, strict=True):
        for name, value in expected.items():
            assert got[name] == (None if value is None else pytest.approx(value, rel=relative)), name


def test_bfloat16_on_the_gpu_lowers_a_finite_loss(
    normalised: ModelConfig, tiny_training: TrainingConfig, there: Data
) -> None:
    config = replace(tiny_training, epochs=10, max_shift=1, precision="bfloat16")
    trained = train(normalised, config, *there, 0)
    losses = [row["train_mloss"] for row in trained.history]
    assert losses[-1] < 0.8 * losses[0]
    for parameter in trained.model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.isfinite().all()


def test_a_loss_that_is_not_finite_is_found_at_its_step_in_replayed_steps(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, there: Data
) -> None:
    growing = replace(tiny_training, lr=1e-11, lr_decay=1e4, lr_decay_steps=1)
    with pytest.raises(FloatingPointError, match=r"at step \d+ \(epoch 2\)"):
        train(tiny_model, growing, *there, 0)


def test_random_generators_on_the_gpu_repeat_themselves(device: torch.device) -> None:
    first, second = (
        torch.rand(9, generator=generator_for(0, "order", 1, device=device), device=device) for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolution_on_the_gpu_agrees_with_torch_s_own_in_float64_and_repeats_itself(
    dtype: torch.dtype, device: torch.device
) -> None:
    """The primary capsules of 16 images in the paper's sizes."""
    generator = torch.Generator().manual_seed(3)
    inputs, weight, grad = (
        torch.randn(shape, generator=generator).to(device, dtype)
        for shape in ((16, 256, 20, 20), (256, 256, 9, 9), (16, 256, 6, 6))
    )

    def both(precision: torch.dtype, convolve: Callable[..., Tensor]) -> list[Tensor]:
        arguments = [each.to(precision, copy=True).requires_grad_() for each in (inputs, weight)]
        outputs = convolve(*arguments, stride=2)
        return [outputs.detach(), *torch.autograd.grad(outputs, arguments, grad.to(precision))]

    exact = both(torch.float64, functional.conv2d)
    first, second = (both(dtype, conv2d) for _ in range(2))
    for one, again, other in zip(first, second, exact, strict=True):
        assert torch.equal(one, again)
        assert (one - other).abs().max() <= (1e-5 if dtype == torch.float32 else 2e-2) * other.abs().max()
