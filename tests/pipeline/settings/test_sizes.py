"""Settings in pixels that do not fit the images are refused where params.yaml is read, or where the data is known."""

from pathlib import Path
from typing import Any

import pytest
from tiny_project import ROOT, SHAPES, changed_params, write_params

from pipeline import train
from pipeline.settings.datasets import SIDES
from pipeline.settings.params import load_params
from pipeline.settings.sizes import side_of


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("runs/toy-fc/crop", 65, "runs.toy-fc.crop: got 65, expected 0, or 20 to 64: images of at most 64 pixels"),
        ("runs/toy-fc/crop", 19, "runs.toy-fc.crop: got 19, expected 0, or 20 to 64"),
        ("runs/toy-fc/max_shift", 64, "runs.toy-fc.max_shift: got 64, expected at most 63: part of images of"),
        ("runs/toy-fc/max_shift", 10**9, "runs.toy-fc.max_shift: got 1000000000, expected at most 63"),
        ("runs/toy-pairs/max_shift", 23, "runs.toy-pairs.max_shift: got 23, expected at most 22: images of at most"),
        ("runs/toy-fc/erase", 32, "runs.toy-fc.erase: got 32, expected at most 31: images of at most 64 pixels"),
    ],
)
def test_what_fits_no_image_is_refused(path: str, value: Any, said: str, project: Path) -> None:
    write_params(project, changed_params(path, value))
    with pytest.raises(ValueError, match=f"params.yaml: {said}"):
        load_params()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": 21}, "crop: got 21, expected 0, or 20 to 20: images of 20 pixels"),
        ({"max_shift": 20}, "max_shift: got 20, expected at most 19: part of images of 20 pixels must stay visible"),
        ({"erase": 10}, "erase: got 10, expected at most 9: the network sees 20 pixels"),
        ({"task": "separate", "max_shift": 23}, "max_shift: got 23, expected at most 22: images of 20 pixels, with"),
    ],
)
def test_what_does_not_fit_the_prepared_images_is_refused(
    changes: dict[str, Any], said: str, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    with pytest.raises(ValueError, match=f"runs.toy-fc with --set: {said}"):
        train.main(["toy-fc", *settings, "--out", "other"])
    for name, value in changes.items():
        write_params(prepared, changed_params(f"runs/toy-fc/{name}", value))
    if len(changes) == 1:
        with pytest.raises(ValueError, match=f"params.yaml: runs.toy-fc.{said}"):
            load_params()


@pytest.mark.parametrize(
    "changes", [{"max_shift": 19}, {"erase": 9}, {"crop": 20}, {"task": "separate", "max_shift": 22}]
)
def test_the_largest_that_fits_is_trained(changes: dict[str, Any], prepared: Path) -> None:
    settings = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    train.main(["toy-fc", *settings, "--set", "epochs=1", "--seeds", "0", "--out", "other"])
    assert (prepared / "other/seed-0.safetensors").exists()


def test_a_folder_of_pictures_says_its_size(project: Path) -> None:
    folder = {"format": "folder", "raw": "own", "size": 24, "channels": 1}
    write_params(project, changed_params("datasets/squares", folder))
    assert side_of("squares", load_params().datasets["squares"]) == 24
    params = changed_params("datasets/squares", folder)
    params["runs"]["toy-fc"]["erase"] = 12
    write_params(project, params)
    with pytest.raises(
        ValueError, match=r"runs\.toy-fc\.erase: got 12, expected at most 11: the network sees 24 pixels"
    ):
        load_params()


def test_official_images_have_the_sides_that_are_listed() -> None:
    datasets = load_params(ROOT / "params.yaml").datasets
    assert {name: side_of(name, entry) for name, entry in datasets.items()} == {
        **dict.fromkeys(datasets, 28),
        **{name: side for name, (side, _, _) in SHAPES.items()},
    }
    assert set(SIDES) == {entry.format for entry in datasets.values()}  # type: ignore[union-attr]


@pytest.mark.parametrize("manifest", ["", "[]", '{"image_size": "20"}', '{"image_size": -1}', "[" * 100_000])
def test_a_damaged_manifest_says_no_size(manifest: str, project: Path) -> None:
    (project / "data").mkdir()
    (project / "data/squares.json").write_text(manifest)
    assert side_of("squares", None) is None
