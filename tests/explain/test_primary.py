"""The decoder of primary capsules, and where primary capsules lie.

Axes: B batch, I primary capsules.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from capsnet.explain.coupling import Place, place
from capsnet.explain.primary import (
    PrimaryTraining,
    load_decoder,
    route,
    save_decoder,
    train_decoder,
)
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.layers import PADDINGS
from capsnet.networks.saved import save_model
from capsnet.training.seeds import initialise

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIG = PrimaryTraining(hidden=(16,), epochs=6, batch_size=8, lr=0.01, subsets=False)


@pytest.mark.parametrize("subsets", [False, True])
def test_a_decoder_learns_and_leaves_the_network_as_it_was(
    subsets: bool, tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = initialise(replace(tiny_model, batch_norm=True), 0).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _, history = train_decoder(model, replace(CONFIG, subsets=subsets), *tiny_data, seed=0)
    losses = [row["train_rloss"] for row in history]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert losses[-1] < 0.8 * losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_same_seed_gives_the_same_decoder_and_another_seed_another(
    tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = initialise(tiny_model, 0).eval()
    config = replace(CONFIG, epochs=1, subsets=True)
    one, again, other = (train_decoder(model, config, *tiny_data, seed=seed)[0] for seed in (0, 0, 1))
    assert all(torch.equal(*pair) for pair in zip(one.parameters(), again.parameters(), strict=True))
    assert not any(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


def test_a_decoder_comes_back_from_its_file_and_from_no_other(
    tmp_path: Path, tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = initialise(tiny_model, 0).eval()
    decoder, _ = train_decoder(model, replace(CONFIG, epochs=1), *tiny_data, seed=0)
    save_decoder(tmp_path / "decoder.safetensors", decoder, {"run": "tiny"})
    scaled = route(model, tiny_data[0][:3]).scaled
    assert torch.equal(load_decoder(tmp_path / "decoder.safetensors")(scaled), decoder(scaled))
    save_model(tmp_path / "model.safetensors", model, {})
    with pytest.raises(ValueError, match="got 'model', expected a capsnet primary decoder"):
        load_decoder(tmp_path / "model.safetensors")


def test_capsules_are_scaled_by_their_coupling_to_the_class_asked_for_or_to_the_winner(
    tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model, images = initialise(tiny_model, 0).eval(), tiny_data[0][:4]
    output = model(images / 255, with_coupling=True)
    winners, primary = output.lengths.argmax(1), model.encoder(images / 255)
    assert output.coupling is not None
    for routed, classes in ((route(model, images), winners), (route(model, images, 2 - winners), 2 - winners)):
        for number, winner in enumerate(classes.tolist()):
            expected = output.coupling[number, :, winner]
            torch.testing.assert_close(routed.scaled[number], expected[:, None] * primary[number])
            torch.testing.assert_close(routed.strength[number], expected * primary[number].norm(dim=1))


@pytest.mark.parametrize("padding", PADDINGS)
def test_a_primary_capsule_depends_on_the_pixels_of_its_receptive_field_and_no_others(
    padding: str, tiny_model: ModelConfig
) -> None:
    config = replace(tiny_model, padding=padding, conv_kernel=5, primary_kernel=6, decoder="none")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CapsNet(config).eval()
        images = torch.rand(8, 1, config.image_size, config.image_size, requires_grad=True)
    field, grid = config.layout.field, config.primary_grid
    for capsule in (0, grid - 1, grid**2 + 2 * grid + 1, config.num_primary - 1):
        kind, row, column = place(config, capsule)
        assert capsule == (kind * grid + row) * grid + column
        (gradient,) = torch.autograd.grad(model.encoder(images)[:, capsule].sum(), images)
        seen = gradient.abs().sum((0, 1))
        expected = torch.zeros_like(seen)
        (top, bottom), (left, right) = (
            (max(0, field.start + field.step * at), field.start + field.step * at + field.size) for at in (row, column)
        )
        expected[top:bottom, left:right] = 1
        assert torch.equal((seen > 1e-4 * seen.max()).float(), expected)


def test_the_capsules_of_the_paper_look_at_17_pixels_in_steps_of_two(tiny_model: ModelConfig) -> None:
    paper = replace(tiny_model, image_size=28, conv_channels=256, primary_types=32, primary_dim=8)
    assert paper.layout.field == (0, 2, 17)
    assert paper.layout.field.centre(5) == 18
    assert place(paper, 1151) == Place(31, 5, 5)
    # 24 pixels, padded: 4 zeros before the first, 3 before the second convolution, which ends at 12 x 12.
    assert replace(paper, image_size=24, padding="same").layout.field == (-7, 2, 17)
