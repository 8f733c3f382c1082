"""The protocols in params.yaml: what they say, and that each trains, repeats itself, resumes and is scored.

Axes: B batch, C channels, H W height and width, J classes.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from protocols import ATTENTION, PARAMS, PROTOCOLS, narrow
from tiny_project import SHAPES
from torch import Tensor
from trainings import killed_after

from capsnet.data.augmentation import (
    add_brightness,
    augmentation,
    change_contrast,
    cut,
    draw_between,
    draw_corners,
    draw_flips,
    draw_shifts,
    flip_left_right,
    shift,
)
from capsnet.evaluation.recognition import evaluate, seen
from capsnet.files import write_whole
from capsnet.networks.capsnet import CapsNet, ModelConfig, standardise
from capsnet.networks.losses import margin_loss, reconstruction_loss
from capsnet.training.loop import Trained, TrainingConfig, train
from capsnet.training.step import initialise, stream
from pipeline.drawing.reconstructions import reconstruct
from pipeline.reporting.tables import build
from pipeline.reporting.typeset import markdown
from pipeline.settings.params import override
from pipeline.settings.runs import Run
from pipeline.settings.tables import BenchmarkRow, Benchmarks

pytestmark = pytest.mark.usefixtures("one_thread")

PROTOCOL = pytest.mark.parametrize("name", PROTOCOLS)
EVERY_NETWORK = pytest.mark.parametrize("name", [*PROTOCOLS, *ATTENTION])


def pictures(shape: tuple[int, int, int], number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make images of a shape (size, channels, classes): a square whose place tells the class, on noise."""
    size, channels, classes = shape
    generator = np.random.default_rng(seed)
    labels = np.arange(number) % classes
    images = generator.integers(0, 120, (number, channels, size, size), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        column = size // 4 + label * size // (2 * classes)
        image[:, size // 3 : 2 * size // 3, column : column + 3] = 230
    return images, labels.astype(np.int64)


def tensors(shape: tuple[int, int, int], number: int) -> tuple[Tensor, Tensor]:
    images, labels = pictures(shape, number)
    return torch.from_numpy(images), torch.from_numpy(labels)


def assert_equal_to_the_bit(one: Trained, other: Trained) -> None:
    assert json.dumps(one.history) == json.dumps(other.history)
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


# What the protocols say.


@pytest.mark.parametrize(
    ("name", "primary", "parameters"),
    [
        ("mnist-baseline", 1152, 8_215_568),
        ("mnist-sabour", 1152, 8_215_568 + 160),
        ("smallnorb-baseline", 2048, None),
        ("smallnorb-sabour", 2048, None),
        ("cifar10-baseline", 2048, None),
        ("cifar10-sabour", 9216, None),
    ],
)
def test_networks_have_the_published_sizes(name: str, primary: int, parameters: int | None) -> None:
    run = PARAMS.runs[name]
    config = run.model(*SHAPES[run.dataset])
    assert config.num_primary == primary
    with torch.device("meta"):
        number = sum(parameter.numel() for parameter in CapsNet(config).parameters())
    assert parameters in (number, None)


@PROTOCOL
def test_a_network_sees_the_pixels_of_its_protocol(name: str) -> None:
    run = PARAMS.runs[name]
    sides = {"mnist": 28, "smallnorb": 32, "smallnorb-mono": 32, "cifar10": 24 if name == "cifar10-sabour" else 32}
    assert run.model(*SHAPES[run.dataset]).image_size == sides[run.dataset]


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name.endswith("-sabour")])
def test_sabour_s_margin_loss_is_halved_and_averaged_over_the_classes_and_its_primary_sum_over_the_types(
    name: str,
) -> None:
    run = PARAMS.runs[name]
    _, _, classes = SHAPES[run.dataset]
    assert run.margin_weight == pytest.approx(0.5 / classes)
    assert run.primary_scale == pytest.approx(1 / (run.primary_types + run.leaky_routing))
    assert (run.initialisation, run.routing_bias) == ("sabour", True)


def jittered(run: Run, images: Tensor) -> Tensor:
    """Return the first crop of images under the brightness and contrast of a run, at random."""
    side = run.crop or images.shape[2]
    made = augmentation(
        side,
        side,
        max_shift=0,
        flip=False,
        rotation=0.0,
        rotation_share=1.0,
        squeeze=0.0,
        scale=0.0,
        erase=0,
        brightness=run.brightness,
        brightness_change=run.brightness_change,
        contrast=run.contrast,
        clip_pixels=run.clip_pixels,
    )
    drawn = [change.draw(len(images), generator=stream(0, change.stream)) for change in made.changes]
    return made(images[:, :, :side, :side], drawn)


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if not name.startswith("mnist")])
def test_the_reference_study_s_jitter_is_cut_off_at_0_and_1_and_sabour_s_is_not(name: str) -> None:
    run = PARAMS.runs[name]
    images, _ = tensors(SHAPES[run.dataset], 40)
    pixels = jittered(run, images)
    assert torch.equal(pixels, pixels.clamp(0, 1)) == name.endswith("-baseline")
    unclipped = jittered(run.model_copy(update={"clip_pixels": False}), images)
    assert torch.equal(pixels.clamp(0, 1), unclipped.clamp(0, 1))


@pytest.mark.parametrize("name", ["smallnorb-sabour", "cifar10-sabour"])
def test_a_network_of_sabour_s_undoes_the_brightness_of_its_jitter(name: str) -> None:
    run = PARAMS.runs[name]
    images, _ = tensors(SHAPES[run.dataset], 40)
    brightened = jittered(run.model_copy(update={"contrast": (1.0, 1.0)}), images)
    plain = jittered(run.model_copy(update={"contrast": (1.0, 1.0), "brightness": 0.0}), images)
    assert run.standardise
    assert not torch.equal(brightened, plain)
    torch.testing.assert_close(standardise(brightened), standardise(plain), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "images", "steps"),
    [("mnist-sabour", 60_000, 300_000), ("smallnorb-sabour", 24_300, 300_000), ("cifar10-sabour", 50_000, 600_000)],
)
def test_sabour_s_epochs_are_as_many_steps_as_in_the_authors_code(name: str, images: int, steps: int) -> None:
    run = PARAMS.runs[name]
    assert run.epochs * -(-images // run.batch_size) == pytest.approx(steps, rel=0.001)


def test_every_run_with_a_published_accuracy_stands_in_a_table() -> None:
    shown = {run for table in PARAMS.tables.values() if table.study == "paper" for run in table.run_names()}
    assert {name for name in PARAMS.published if PARAMS.runs[name].study == "paper"} <= shown
    assert set(PROTOCOLS) <= PARAMS.published.keys()
    assert [name for name, entry in PARAMS.published.items() if entry.ensemble] == ["cifar10-sabour"]


def test_every_run_among_the_benchmarks_is_called_after_the_protocol_that_its_settings_follow() -> None:
    table = PARAMS.tables["paper-benchmarks"]
    assert isinstance(table, Benchmarks)
    followed = {row.run: row.protocol.removesuffix(" protocol") for row in table.runs}
    settings = {run: PARAMS.base_of(run).model_dump() for run in followed}
    words = {"sabour": "Sabour et al.", "attention": "our"}
    kinds = {run: values.get("initialisation", values["network"]) for run, values in settings.items()}
    assert followed == {run: words.get(kind, "reference") for run, kind in kinds.items()}


def test_what_is_not_published_about_a_run_is_left_out_of_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("mnist-fc", "mnist-sabour")
    for name in names:
        metrics = {"run": name, "model": "FC", "dataset": "mnist", "note": "", "seeds": {"0": {}}, "test_images": 1}
        metrics |= {"accuracy_mean": 99.0, "epochs": 1, "parameters": 1, "decoder_parameters": 1}
        metrics |= {"hardware": "CPU", "torch": "2", "python": "3"}
        write_whole(Path(f"reports/paper/metrics/{name}.json"), json.dumps(metrics))
    rows = (BenchmarkRow(run="mnist-fc"), BenchmarkRow(run="mnist-sabour", protocol="Sabour et al. protocol"))
    changed = {
        "paper-decoders": PARAMS.tables["paper-decoders"].model_copy(update={"runs": names}),
        "paper-benchmarks": PARAMS.tables["paper-benchmarks"].model_copy(update={"runs": rows, "published": ()}),
    }
    decoders, benchmarks = (build(name, PARAMS.model_copy(update={"tables": changed})) for name in changed)
    published = [table.data["published_accuracy"].tolist() for table in (decoders, benchmarks)]
    assert published == [[99.51, 99.75]] * 2
    assert decoders.data["published_rloss"].isna().tolist() == [False, True]
    assert benchmarks.data["model"].tolist() == ["FC", "Sabour et al. protocol, FC"]
    assert decoders.data["model"].tolist() == ["FC", "FC"]
    assert not {"nan", "None"} & set(markdown(decoders.cells).split())


# What the settings do.


def test_the_weighted_margin_loss_is_the_one_of_the_authors_code_worked_by_hand() -> None:
    """Two images, five classes: half the cost of each class, averaged over images and classes."""
    lengths = torch.tensor([[0.8, 0.3, 0.0, 0.1, 0.05], [0.2, 0.95, 0.0, 0.5, 0.1]])
    labels = torch.tensor([0, 1])
    first = 0.5 * (0.9 - 0.8) ** 2 + 0.25 * (0.3 - 0.1) ** 2
    second = 0.25 * (0.2 - 0.1) ** 2 + 0.25 * (0.5 - 0.1) ** 2
    weight = PARAMS.runs["smallnorb-sabour"].margin_weight
    assert (weight * margin_loss(lengths, labels)).mean().item() == pytest.approx((first + second) / (2 * 5))


@pytest.mark.parametrize(("margin_weight", "clip_pixels"), [(1.0, True), (0.05, False)])
def test_a_step_takes_the_augmented_crop_for_image_and_target_and_weighs_the_margin_loss(
    margin_weight: float, clip_pixels: bool, tiny_model: ModelConfig, tiny_training: TrainingConfig
) -> None:
    """One batch an epoch, worked out here from the streams of the seed; the target stays within 0 and 1 either way."""
    images, labels = tensors((26, 1, 3), 12)
    config = replace(
        tiny_training,
        epochs=2,
        batch_size=12,
        margin_weight=margin_weight,
        alpha=0.02,
        max_shift=2,
        flip=True,
        brightness=63.0,
        contrast=(0.2, 1.8),
        clip_pixels=clip_pixels,
    )
    trained = train(tiny_model, config, images, labels, 3)

    model = initialise(tiny_model, 3)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for epoch, row in enumerate(trained.history, 1):
        order = torch.randperm(12, generator=stream(3, "order", epoch))
        moved = shift(images[order], draw_shifts(12, 2, stream(3, "augmentation", epoch)))
        moved = cut(moved, draw_corners(12, 6, stream(3, "crop", epoch)), 20)
        pixels = flip_left_right(moved, draw_flips(12, stream(3, "flip", epoch))) / 255
        pixels = add_brightness(pixels, draw_between(12, -63 / 255, 63 / 255, stream(3, "brightness", epoch)))
        pixels = change_contrast(pixels, draw_between(12, 0.2, 1.8, stream(3, "contrast", epoch)))
        target = pixels.clamp(0, 1)
        assert not torch.equal(pixels, target)
        output = model(target if clip_pixels else pixels, labels[order])
        mloss = margin_loss(output.lengths, labels[order]).mean()
        rloss = reconstruction_loss(target, output.reconstruction).mean()
        loss = margin_weight * mloss + 0.02 * rloss
        assert row["train_mloss"] == pytest.approx(mloss.item(), rel=1e-4)
        assert row["train_rloss"] == pytest.approx(rloss.item(), rel=1e-4)
        assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-4)
        for group in optimizer.param_groups:
            group["lr"] = 0.003 * config.lr_decay ** ((epoch - 1) / config.lr_decay_steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, plain in zip(trained.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [20, 21, 24, 33])
def test_evaluation_sees_the_centre(size: int, tiny_model: ModelConfig) -> None:
    images, labels = tensors((size, 1, 3), 9)
    model = CapsNet(tiny_model).eval()
    first = (size - 20) // 2
    centre = images[:, :, first : first + 20, first : first + 20]
    assert torch.equal(seen(model, images), centre / 255)
    assert evaluate(model, images, labels)[:3] == evaluate(model, centre.contiguous(), labels)[:3]


def test_evaluation_does_not_depend_on_what_lies_outside_the_centre(tiny_model: ModelConfig) -> None:
    images, labels = tensors((30, 1, 3), 9)
    model = CapsNet(tiny_model)
    framed = torch.full_like(images, 255)
    framed[:, :, 5:25, 5:25] = images[:, :, 5:25, 5:25]
    assert evaluate(model, framed, labels)[:3] == evaluate(model, images, labels)[:3]


def test_images_smaller_than_the_network_s_are_refused(tiny_model: ModelConfig) -> None:
    images, labels = tensors((19, 1, 3), 3)
    with pytest.raises(ValueError, match=r"images: got \(19, 19\) pixels, expected at least 20"):
        evaluate(CapsNet(tiny_model), images, labels)


def test_a_crop_larger_than_the_images_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match="crop: got 32, expected at most 28, the pixels of smallnorb-mono"):
        PARAMS.runs["smallnorb-baseline"].model(28, 1, 5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("contrast=[1.8, 0.2]", r"contrast: got \[1.8, 0.2\], expected the lowest factor first"),
        ("contrast=[-0.5, 1.0]", "contrast.0: got -0.5"),
        ("contrast=0.5", "contrast: got 0.5"),
        ("clip_pixels=1", "clip_pixels: got 1, expected a valid boolean"),
        ("brightness=-1", "brightness: got -1"),
        ("brightness=256", "brightness: got 256"),
        ("brightness_change=multiply", "brightness_change: got 'multiply', expected 'add' or 'scale'"),
        ("crop=-1", "crop: got -1"),
        ("margin_weight=0", "margin_weight: got 0"),
        ("primary_scale=0", "primary_scale: got 0"),
        ("padding=SAME", "padding: got 'SAME', expected 'valid' or 'same'"),
        ("initialisation=xavier", "initialisation: got 'xavier', expected 'torch', 'reference' or 'sabour'"),
        ("seeds=[-1]", "seeds.0: got -1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(PARAMS.runs["mnist-fc"], [setting], "runs.mnist-fc")


def test_a_run_has_the_seeds_of_the_project_unless_it_names_its_own() -> None:
    assert PARAMS.seeds_of(PARAMS.runs["mnist-fc"]) == PARAMS.seeds
    assert PARAMS.seeds_of(PARAMS.runs["cifar10-sabour"]) == tuple(range(7))


# That each trains.


@EVERY_NETWORK
def test_a_protocol_repeats_itself_to_the_bit_and_after_a_resumption(name: str, tmp_path: Path) -> None:
    run = narrow(name, validation=0.2)
    shape = SHAPES[run.dataset]
    model, config = run.model(*shape), run.training()
    images, labels = tensors(shape, 23)
    unbroken = train(model, config, images, labels, 0)
    assert_equal_to_the_bit(train(model, config, images, labels, 0), unbroken)
    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(model, config, images, labels, 0, checkpoint=state, log=killed_after(1))
    assert_equal_to_the_bit(train(model, config, images, labels, 0, resume=state), unbroken)
    assert train(model, config, images, labels, 1).history != unbroken.history


@EVERY_NETWORK
def test_a_protocol_lowers_the_loss_of_what_it_trains_on(name: str) -> None:
    # The authors' rate is for networks and trainings of another size.
    run = narrow(name, epochs=12, lr=0.02)
    shape = SHAPES[run.dataset]
    history = train(run.model(*shape), run.training(), *tensors(shape, 24), 0).history
    losses = [row["train_loss"] or 0.0 for row in history]
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0]


def test_figures_show_what_a_network_with_a_crop_sees() -> None:
    run = narrow("smallnorb-sabour")
    shape = SHAPES[run.dataset]
    images, _ = tensors(shape, 3)
    before, after = reconstruct(CapsNet(run.model(*shape)).eval(), "label", images)
    assert np.array_equal(before, (images[:, :, 8:40, 8:40] / 255).numpy())
    assert after.images.shape == before.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EVERY_NETWORK
def test_a_protocol_repeats_itself_on_the_gpu(name: str) -> None:
    from pipeline.runtime.device import configure_torch

    device = configure_torch("cuda", 1).device
    run = narrow(name)
    shape = SHAPES[run.dataset]
    images, labels = (tensor.to(device) for tensor in tensors(shape, 23))
    first, second = (train(run.model(*shape), run.training(), images, labels, 0) for _ in range(2))
    assert_equal_to_the_bit(first, second)
