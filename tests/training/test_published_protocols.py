"""What the protocols in params.yaml say, against what was published."""

import json
from pathlib import Path

import pytest
import torch
from protocols import PARAMS, PROTOCOLS, tensors
from tiny_project import SHAPES
from torch import Tensor

from capsnet.data.augmentation import (
    augmentation,
)
from capsnet.files import write_whole
from capsnet.networks.capsnet import CapsNet, standardise
from capsnet.training.seeds import generator_for
from pipeline.reporting.tables import build
from pipeline.reporting.typeset import markdown
from pipeline.settings.runs import Run
from pipeline.settings.tables import BenchmarkRow, Benchmarks

pytestmark = pytest.mark.usefixtures("one_thread")
PROTOCOL = pytest.mark.parametrize("name", PROTOCOLS)


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
    drawn = [change.draw(len(images), generator=generator_for(0, change.use)) for change in made.changes]
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
