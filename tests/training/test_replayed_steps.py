"""Steps that are captured once and replayed, as on a GPU, are the steps themselves."""

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from like_a_gpu import Capture, Graph, NothingIsRead, captured, waiting_forbidden
from torch import Tensor
from trainings import Data, assert_equal_states, trainer_on

from capsnet.networks.attention import NORMS
from capsnet.networks.capsnet import AttentionConfig, ModelConfig
from capsnet.networks.decoders import DECODERS
from capsnet.training.step import PRECISIONS, Trainer
from capsnet.training.training_config import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")
# Two sizes of batch, so that there are two graphs, the second at the end of the epoch.
SIZES, RATES, ALPHA = [12, 12, 8], [0.003, 0.002, 0.001], 0.0005


@pytest.fixture
def busy_collector() -> Iterator[None]:
    """Collect garbage whenever an object is made."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)


def epochs(trainer: Trainer, *numbers: int, rates: list[float] = RATES) -> None:
    for epoch in numbers:
        assert list(trainer.epoch(epoch, SIZES[-len(rates) :], rates, ALPHA)) == SIZES[-len(rates) :]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("task", ["classify", "separate"])
def test_replayed_steps_give_the_same_bytes(
    task: str, precision: str, normalised: ModelConfig, tiny_data: Data, shifted: TrainingConfig
) -> None:
    """Batch normalisation, decoder and optimiser included; what was captured is not left in the first step's state."""
    border = 2 * shifted.max_shift if task == "separate" else 0
    model = replace(normalised, image_size=normalised.image_size + border, leaky_routing=True)
    config = replace(shifted, task=task, precision=precision, brightness=32.0, contrast=(0.5, 1.5))
    replayed, eager = (trainer_on(tiny_data, model, config) for _ in range(2))
    with captured(replayed) as replayer:
        epochs(replayed, 1, 2)
    epochs(eager, 1, 2)
    assert set(replayer.graphs) == set(SIZES)
    assert_equal_states(replayed, eager, 0)
    assert replayed.means().bad_step == -1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_replayed_steps_of_the_other_network_give_the_same_bytes_with_every_augmentation(
    norm: str, decoder: str, tiny_attention: AttentionConfig, tiny_data: Data, shifted: TrainingConfig
) -> None:
    model = replace(tiny_attention, encoder_norm=norm, decoder=decoder, standardise=norm == "instance")
    config = replace(shifted, rotation=30.0, rotation_share=0.5, squeeze=0.25, scale=0.1, erase=3, decoded_share=0.5)
    replayed, eager = (trainer_on(tiny_data, model, config) for _ in range(2))
    with captured(replayed):
        epochs(replayed, 1, 2)
    epochs(eager, 1, 2)
    assert_equal_states(replayed, eager, 0)


def test_a_step_is_captured_once_and_anew_when_the_number_of_steps_changes(
    tiny_model: ModelConfig, tiny_data: Data, shifted: TrainingConfig
) -> None:
    replayed, eager = (trainer_on(tiny_data, tiny_model, shifted) for _ in range(2))
    with captured(replayed) as replayer:
        epochs(replayed, 1, 2)
        first = dict(replayer.graphs)
        epochs(replayed, 3)
        assert replayer.graphs == first
        epochs(replayed, 4, rates=RATES[:2])
        assert replayer.graphs[8] is not first[8]
    epochs(eager, 1, 2, 3)
    epochs(eager, 4, rates=RATES[:2])
    assert_equal_states(replayed, eager, 0)


@pytest.mark.usefixtures("busy_collector")
def test_garbage_is_collected_before_a_capture_and_not_in_it(
    tiny_model: ModelConfig, tiny_data: Data, shifted: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA graph that is freed while another is captured spoils the capture."""
    collected: list[str] = []
    left: list[object] = []

    class Watched(Capture):
        def __enter__(self) -> Any:
            left.append(earlier())
            gc.callbacks.append(note)
            return super().__enter__()

        def __exit__(self, *error: Any) -> None:
            gc.callbacks.remove(note)
            super().__exit__(*error)

    def note(phase: str, info: dict[str, int]) -> None:
        collected.append(phase)

    trainer = trainer_on(tiny_data, tiny_model, shifted)
    graph = Graph()
    graph.operations.append((graph, None, None, None))  # refers to itself, as a trainer and its replayer do
    earlier = weakref.ref(graph)
    gc.disable()
    del graph
    gc.enable()
    with captured(trainer):
        monkeypatch.setattr(torch.cuda, "graph", Watched)
        epochs(trainer, 1)
    assert (left, collected) == ([None] * len(set(SIZES)), [])
    assert gc.isenabled()


def test_a_state_taken_over_reaches_the_replayed_steps(
    tiny_model: ModelConfig, tiny_data: Data, shifted: TrainingConfig
) -> None:
    trained, late = (trainer_on(tiny_data, tiny_model, shifted) for _ in range(2))
    epochs(trained, 1)
    with captured(late):
        epochs(late, 1, 2)
        late.restore({name: tensor.clone() for name, tensor in trained.tensors().items()})
        epochs(late, 2)
    epochs(trained, 2)
    assert_equal_states(late, trained, 0)


def test_a_graph_keeps_what_python_computed_when_it_was_made() -> None:
    """Or the tests above would find nothing that a GPU does."""
    total, python = torch.zeros(()), 1.0
    graph = Graph()
    with torch.no_grad(), Capture(graph):
        total += python
    python = 100.0
    for _ in range(3):
        graph.replay()
    assert total == 3.0


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x[0] > 0),
        lambda x: x[x > 0],
        lambda x: x.unique(),
        lambda x: torch.bincount(x.long()),
        lambda x: torch.repeat_interleave(x, x.long()),
        lambda x: torch.equal(x, x),
        lambda x: x.masked_fill_(x > 0, 1.0)[x == 1.0],
    ],
)
def test_what_a_gpu_would_be_waited_for_is_found(read: Callable[[Tensor], object]) -> None:
    x = torch.arange(3.0)
    with NothingIsRead(), pytest.raises(AssertionError, match="aten"):
        read(x)


def test_the_mode_that_forbids_waiting_warns_of_nothing_and_ends_with_its_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)  # it needs no device
    with waiting_forbidden():
        assert torch.cuda.get_sync_debug_mode() == 2
    assert torch.cuda.get_sync_debug_mode() == 0
