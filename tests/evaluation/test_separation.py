"""What a network makes of pairs of images that overlap: losses and reconstructions of both, scores, what is seen.

Axes: N images or pairs, P the two images of a pair, C channels, H side of an image, S side of the field, J classes.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from trainings import Data

from capsnet.data.pairs import Pairs, overlay, put_together
from capsnet.evaluation.recognition import Scores, correct, ensemble_accuracy, longest
from capsnet.evaluation.separation import evaluate_pairs, fixed_pairs, in_order_of, separate
from capsnet.explain.separated_pairs import explain_pairs
from capsnet.networks.capsnet import CapsNet, ModelConfig, Output
from capsnet.networks.decoders import DECODERS
from capsnet.networks.losses import margin_loss, presence

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def field(tiny_model: ModelConfig) -> ModelConfig:
    """A network that sees images of 20 pixels wherever a shift of up to 2 moves them."""
    return replace(tiny_model, image_size=24)


def network(config: ModelConfig) -> CapsNet:
    """Build a network with the same weights each time, long capsules and the running statistics of some images."""
    torch.manual_seed(0)
    model = CapsNet(config)
    with torch.no_grad():
        model.class_capsules.weight.mul_(200)
        model(torch.rand(16, 1, config.image_size, config.image_size), torch.zeros(16, dtype=torch.int64))
    return model.eval()


def test_presence_and_margin_loss_of_two_classes_are_those_worked_by_hand() -> None:
    lengths = torch.tensor([[0.95, 0.5, 0.05], [0.2, 0.8, 0.4]])
    labels = torch.tensor([[0, 1], [2, 1]])
    assert presence(labels, 3).tolist() == [[True, True, False], [False, True, True]]
    by_hand = [0.0 + 0.4**2 + 0.0, 0.5 * 0.1**2 + 0.1**2 + 0.5**2]
    torch.testing.assert_close(margin_loss(lengths, labels), torch.tensor(by_hand))
    torch.testing.assert_close(margin_loss(lengths, labels.flip(1)), torch.tensor(by_hand))


def test_several_labels_give_a_reconstruction_each_as_if_asked_one_by_one(field: ModelConfig) -> None:
    model = network(field)
    images = torch.rand(4, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1], [2, 0], [1, 1], [2, 1]])
    with torch.no_grad():
        both = model(images, labels).reconstruction
        assert both is not None
        for which in range(2):
            torch.testing.assert_close(both[:, which], model(images, labels[:, which]).reconstruction)


# How they are scored.


class LengthsOfPixels(CapsNet):
    """Finds capsules as long as the first pixels of an image say, one a class."""

    def forward(self, images: Tensor, labels: Tensor | None = None, **options: Any) -> Output:
        lengths = images[:, 0, 0, : self.config.classes]
        return Output(lengths.unsqueeze(2), lengths, None, None, lengths.unsqueeze(2))


def test_scores_of_pairs_are_those_worked_by_hand(tiny_model: ModelConfig) -> None:
    """Without a border an image's first pixels are the sums of those of its two images."""
    images = torch.zeros(4, 1, 20, 20, dtype=torch.uint8)
    levels = [[102, 0, 0], [0, 127, 0], [0, 0, 153], [178, 0, 26]]
    images[:, 0, 0, :3] = torch.tensor(levels, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 1])
    places = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 2]])
    model = LengthsOfPixels(replace(tiny_model, decoder="none"))
    scores = evaluate_pairs(model, images, labels, Pairs(places, torch.zeros(2, 4, 2, dtype=torch.int64)), batch_size=3)
    # Lengths of classes 0 1 2: 0.4 0.5 0 for a pair of 0 and 1; 0 0.5 0.6 for 1 and 2; twice 0.70 0 0.70 for 2 and 1.
    assert scores.accuracy == 50.0
    assert scores.confusion.tolist() == [[1, 0, 0], [2, 2, 0], [0, 0, 3]]
    assert scores.class_accuracy == 100 * 6 / 8
    assert scores.per_class_accuracy == [100.0, 50.0, 100.0]
    a, b, c, d = (level / 255 for level in (102, 127, 153, 178))
    right = [(0.9 - a) ** 2 + (0.9 - b) ** 2, (0.9 - b) ** 2 + (0.9 - c) ** 2]
    wrong = 0.5 * (d - 0.1) ** 2 + 0.9**2 + (0.9 - (153 + 26) / 255) ** 2
    assert scores.mloss == pytest.approx((sum(right) + 2 * wrong) / 4)
    assert scores.rloss is None
    assert ensemble_accuracy([scores.lengths] * 2, labels[places]) == 50.0


def test_both_classes_must_be_the_longest_in_either_order() -> None:
    lengths = torch.tensor([[0.9, 0.1, 0.8], [0.9, 0.1, 0.8], [0.1, 0.5, 0.4]])
    labels = torch.tensor([[0, 2], [2, 1], [2, 1]])
    assert correct(lengths, labels).tolist() == [True, False, True]
    assert correct(lengths, labels.flip(1)).tolist() == [True, False, True]
    assert longest(lengths, 2).tolist() == [[0, 2], [0, 2], [1, 2]]


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ([1, 2], [1, 2], [1, 2]),
        ([1, 2], [2, 1], [1, 2]),
        ([1, 2], [2, 5], [5, 2]),
        ([1, 2], [5, 1], [1, 5]),
        ([1, 2], [1, 5], [1, 5]),
        ([1, 2], [6, 5], [6, 5]),
    ],
)
def test_a_wrong_class_stands_for_the_one_that_it_missed(
    truth: list[int], predicted: list[int], expected: list[int]
) -> None:
    assert in_order_of(torch.tensor([truth]), torch.tensor([predicted])).tolist() == [expected]


def scored(model: CapsNet, data: Data, **options: int) -> Scores:
    return evaluate_pairs(model, *data, fixed_pairs(model, *data, seed=0, per_image=2), **options)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_scores_are_those_of_a_loop_over_single_pairs(
    batch_norm: bool, decoder: str, field: ModelConfig, tiny_data: Data
) -> None:
    images, labels = tiny_data
    model = network(replace(field, decoder=decoder, batch_norm=batch_norm))
    pairs = fixed_pairs(model, images, labels, seed=0, per_image=2)
    scores = scored(model, tiny_data, batch_size=7)
    right, mloss, rloss = 0, 0.0, 0.0
    for pair in range(64):
        places = pairs.places[pair]
        digits = put_together(images, Pairs(places[None], pairs.shifts[:, pair : pair + 1]), 24)
        truth = labels[places].tolist()
        with torch.no_grad():
            output = model(overlay(digits))
        found = output.lengths[0].argsort(descending=True)[:2].tolist()
        right += set(found) == set(truth)
        mloss += margin_loss(output.lengths, labels[places][None]).item()
        if found[0] == truth[1] or found[1] == truth[0]:
            found.reverse()
        for which in range(2 if model.decoder else 0):
            drawn = model.decode(output.capsules, torch.tensor([found[which]]))
            rloss += (drawn[0] - digits[0, which]).square().sum().item()
    assert 0 < right < 64
    assert scores.accuracy == pytest.approx(100 * right / 64)
    assert scores.mloss == pytest.approx(mloss / 64, rel=1e-5)
    assert scores.rloss == (pytest.approx(rloss / 64, rel=1e-5) if model.decoder else None)
    assert scores.confusion.sum() == 2 * 64
    assert scores.lengths.shape == (64, 3)


def test_every_call_scores_the_same_pairs_and_batch_mates_do_not_matter(field: ModelConfig, tiny_data: Data) -> None:
    model = network(replace(field, batch_norm=True)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(1)
    one = scored(model, tiny_data)
    torch.manual_seed(2)
    again, cut = scored(model, tiny_data), scored(model, tiny_data, batch_size=5)
    assert torch.equal(one.lengths, again.lengths)
    assert (one.accuracy, one.rloss, one.mloss) == (again.accuracy, again.rloss, again.mloss)
    torch.testing.assert_close(one.lengths, cut.lengths)
    assert torch.equal(one.confusion, cut.confusion)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_network_smaller_than_the_images_is_shown_no_pairs(tiny_model: ModelConfig, tiny_data: Data) -> None:
    model = network(replace(tiny_model, image_size=20))
    larger = torch.zeros(32, 1, 24, 24, dtype=torch.uint8)
    with pytest.raises(ValueError, match="images: got 24 pixels, expected 20 or an even number fewer"):
        fixed_pairs(model, larger, tiny_data[1], seed=0, per_image=1)


# What is to be seen of them.


def test_a_pair_taken_apart_has_a_reconstruction_of_each_predicted_class_and_of_one_that_is_not_there(
    field: ModelConfig, tiny_data: Data
) -> None:
    model = network(replace(field, classes=5))
    pairs = fixed_pairs(model, *tiny_data, seed=0, per_image=1)
    seen = explain_pairs(model, *tiny_data, pairs)
    shown = separate(model, *tiny_data, pairs)
    for name in ("pixels", "digits", "truth", "predicted", "lengths"):
        assert torch.equal(getattr(seen, name), getattr(shown, name)), name
    torch.testing.assert_close(seen.reconstructions, shown.reconstructions)
    torch.testing.assert_close(seen.forced, model.decode(shown.capsules, seen.absent))
    for truth, predicted, lengths, absent in zip(
        seen.truth.tolist(), seen.predicted.tolist(), seen.lengths, seen.absent.tolist(), strict=True
    ):
        left = [label for label in range(5) if label not in (*truth, *predicted)]
        assert absent == max(left, key=lambda label: lengths[label].item())


def test_networks_without_an_absent_class_or_a_decoder_are_refused(field: ModelConfig, tiny_data: Data) -> None:
    images, labels = tiny_data
    two = network(replace(field, classes=2))
    with pytest.raises(ValueError, match="classes: got 2, expected at least 3"):
        explain_pairs(two, images, labels % 2, fixed_pairs(two, images, labels % 2, seed=0, per_image=1))
    blind = network(replace(field, decoder="none"))
    with pytest.raises(ValueError, match="got a network without a decoder"):
        explain_pairs(blind, images, labels, fixed_pairs(blind, images, labels, seed=0, per_image=1))
