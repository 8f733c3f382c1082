"""Scores: a naive loop, a confusion matrix made by hand, nothing that leaks from training.

Axes: N images, C channels, H W height and width, J classes.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from capsnet.evaluation.recognition import Scores, evaluate, recognise, seen
from capsnet.networks.capsnet import CapsNet, ModelConfig, Output
from capsnet.networks.decoders import DECODERS
from capsnet.networks.losses import RECONSTRUCTION_LOSSES, margin_loss, reconstruction_loss

pytestmark = pytest.mark.usefixtures("one_thread")


class PredictsFirstPixel(CapsNet):
    """Predicts the class that the first pixel says, with a length of 0.9 against 0.1."""

    def forward(self, images: Tensor, labels: Tensor | None = None, **options: Any) -> Output:
        told = (images[:, 0, 0, 0] * 255).round().long()
        lengths = 0.1 + 0.8 * torch.nn.functional.one_hot(told, self.config.classes)
        capsules = lengths.unsqueeze(2)
        return Output(capsules, lengths, lengths.unsqueeze(1), None, capsules)


def network(config: ModelConfig) -> CapsNet:
    """Build a network with the same weights each time, long capsules and the running statistics of some images."""
    torch.manual_seed(0)
    network = CapsNet(config)
    with torch.no_grad():
        network.class_capsules.weight.mul_(200)
        network(torch.rand(16, 1, 20, 20), torch.zeros(16, dtype=torch.int64))
    return network


def told(model_config: ModelConfig, predictions: list[int], truth: list[int], batch_size: int = 2) -> Scores:
    images = torch.zeros(len(predictions), 1, 20, 20, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(predictions)
    model = PredictsFirstPixel(replace(model_config, decoder="none"))
    return evaluate(model, images, torch.tensor(truth), batch_size=batch_size)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
@pytest.mark.parametrize("reconstruction", RECONSTRUCTION_LOSSES)
def test_scores_are_those_of_a_loop_over_single_images(
    reconstruction: str, decoder: str, batch_norm: bool, tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    """The decoder is fed with the predicted class, right or wrong."""
    images, labels = tiny_data
    model = network(replace(tiny_model, decoder=decoder, batch_norm=batch_norm))
    scores = evaluate(model, images, labels, rloss=RECONSTRUCTION_LOSSES[reconstruction], batch_size=7)
    model.eval()
    right, mloss, rloss = 0, 0.0, 0.0
    confusion = [[0] * 3 for _ in range(3)]
    with torch.no_grad():
        for image, label in zip(images.float() / 255, labels, strict=True):
            output = model(image[None], None)
            predicted = int(output.lengths[0].argmax())
            right += predicted == label.item()
            mloss += margin_loss(output.lengths, label[None]).item()
            confusion[int(label)][predicted] += 1
            if output.reconstruction is not None:
                error = output.reconstruction[0] - image
                rloss += (error.abs() if reconstruction == "l1" else error**2).sum().item()
    assert 0 < right < len(labels)
    assert scores.accuracy == pytest.approx(100 * right / len(labels))
    assert scores.mloss == pytest.approx(mloss / len(labels), rel=1e-5)
    assert scores.confusion.tolist() == confusion
    if decoder == "none":
        assert scores.rloss is None
    else:
        assert scores.rloss == pytest.approx(rloss / len(labels), rel=1e-5)


def test_reconstruction_is_scored_by_the_squared_error_unless_told_otherwise(
    tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = network(tiny_model)
    assert evaluate(model, *tiny_data).rloss == evaluate(model, *tiny_data, rloss=reconstruction_loss).rloss


def test_confusion_matrix_has_a_row_for_the_true_class_and_a_column_for_the_predicted_one(
    tiny_model: ModelConfig,
) -> None:
    scores = told(tiny_model, predictions=[0, 0, 1, 2, 2, 2, 0], truth=[0, 0, 0, 1, 2, 2, 2])
    assert scores.confusion.tolist() == [[2, 1, 0], [0, 0, 1], [1, 0, 2]]
    assert scores.accuracy == pytest.approx(100 * 4 / 7)
    assert scores.per_class_accuracy == [pytest.approx(200 / 3), 0.0, pytest.approx(200 / 3)]
    wrong = 0.8**2 + 0.5 * 0.8**2
    assert scores.mloss == pytest.approx(3 * wrong / 7)


def test_a_class_without_images_has_no_accuracy(tiny_model: ModelConfig) -> None:
    scores = told(tiny_model, predictions=[0, 1, 2], truth=[0, 0, 2])
    assert scores.per_class_accuracy == [50.0, None, 100.0]


@pytest.mark.parametrize("batch_size", [1, 5, 31, 32, 100])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_scores_do_not_depend_on_the_batch_size(
    batch_size: int, batch_norm: bool, tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = network(replace(tiny_model, batch_norm=batch_norm))
    usual = evaluate(model, *tiny_data)
    scores = evaluate(model, *tiny_data, batch_size=batch_size)
    assert scores.accuracy == usual.accuracy
    assert scores.mloss == pytest.approx(usual.mloss, rel=1e-5)
    assert scores.rloss == pytest.approx(usual.rloss, rel=1e-5)
    assert torch.equal(scores.confusion, usual.confusion)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_mode_weights_and_running_statistics_as_they_were(
    training: bool, tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = network(replace(tiny_model, batch_norm=True)).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, *tiny_data)
    assert model.training is training
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_evaluation_computes_no_gradients_and_draws_no_random_number(
    tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model, grad_modes = network(tiny_model), []
    model.register_forward_hook(lambda module, inputs, output: grad_modes.append(output.lengths.requires_grad))
    before = torch.get_rng_state()
    evaluate(model, *tiny_data, batch_size=16)
    assert grad_modes == [False, False]
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_sees_every_image_once_unshifted_with_values_from_0_to_1(
    tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model, seen = network(tiny_model), []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    images, labels = tiny_data
    evaluate(model, images, labels, batch_size=10)
    torch.testing.assert_close(torch.cat([given[0] for given in seen]), images.float() / 255)
    assert [len(given) for given in seen] == [1] * 4


@pytest.mark.parametrize("training", [False, True])
def test_a_network_recognises_images_in_evaluation_mode_without_gradients_and_is_left_as_it_was(
    training: bool, tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = network(replace(tiny_model, batch_norm=True))
    expected = model.eval()(seen(model, tiny_data[0]), with_coupling=True)
    model.train(training)
    pixels, output = recognise(model, tiny_data[0], with_coupling=True)
    assert model.training == training
    assert torch.equal(pixels, tiny_data[0] / 255)
    for got, wanted in zip(output, expected, strict=True):
        assert not got.requires_grad
        assert torch.equal(got, wanted)
    assert torch.equal(output.primary, model.eval().encoder(pixels))


@pytest.mark.parametrize("decoded", [0, 2, None])
def test_as_many_images_are_reconstructed_as_asked_for(
    decoded: int | None, tiny_model: ModelConfig, tiny_data: tuple[Tensor, Tensor]
) -> None:
    model = network(tiny_model)
    reconstruction = recognise(model, tiny_data[0][:5], decoded=decoded).output.reconstruction
    whole = recognise(model, tiny_data[0][:5]).output.reconstruction
    assert whole is not None
    if decoded == 0:
        assert reconstruction is None
    else:
        assert reconstruction is not None
        torch.testing.assert_close(reconstruction, whole[:decoded])
