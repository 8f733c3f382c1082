"""Every data set and every protocol in small: from files on a server, in the real formats, to a row of a table."""

import importlib
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from official_files import WRITERS, served, take_as_official
from PIL import Image
from protocols import PARAMS, PROTOCOLS, narrow
from tiny_project import squares, tiny_params, write_params

from capsnet.networks.saved import load
from capsnet.sources.catalogue import official
from pipeline.runtime.prepared import read_manifest
from pipeline.settings.runs import Run

COPY = "decoded from JPEG & 50 % smaller"
DATA_SETS: dict[str, dict[str, Any]] = {
    "mnist": {"format": "mnist", "raw": "data/raw/mnist"},
    "fashion": {"format": "fashion", "raw": "data/raw/fashion"},  # the mirror has a copy of it
    "cifar10": {"format": "cifar10", "raw": "data/raw/cifar10"},
    "smallnorb": {"format": "smallnorb", "raw": "data/raw/smallnorb", "views": "stereo"},
    "smallnorb-mono": {"format": "smallnorb", "raw": "data/raw/smallnorb", "views": "mono"},
    "affnist": {"format": "affnist", "raw": "data/raw/mnist", "seed": 0},
    "arrays": {"format": "npz", "raw": "own.npz"},
    "pictures": {"format": "folder", "raw": "own", "size": 24, "channels": 3},
}
NOTES = {
    "fashion": COPY,
    "affnist": "affNIST-style, made from MNIST with seed 0, not the published affNIST files",
}
RUNS: dict[str, Run] = {
    name: narrow(name, study="toy", epochs=1, seeds=[0, 1] if name == "cifar10-sabour" else [4]) for name in PROTOCOLS
} | {
    f"{dataset}-run": narrow("mnist-baseline", study="toy", dataset=dataset, epochs=1, seeds=[4], validation=0.5)
    for dataset in DATA_SETS
    if dataset not in {PARAMS.runs[name].dataset for name in PROTOCOLS}
}


def write_files(web: Path) -> None:
    """Write the official files of each data set into a folder of its own, and a copy of one into the mirror's."""
    digits = np.zeros((20, 28, 28), np.uint8)
    digits[:, 8:20, 10:16] = np.arange(100, 120, dtype=np.uint8)[:, None, None]
    changes: dict[str, dict[str, Any]] = {"mnist": {"train_images": digits, "test_images": digits[:3]}}
    for name, write in WRITERS.items():
        (web / name).mkdir(parents=True)
        write(web / name, **changes.get(name, {}))
    (web / "mirror").mkdir()
    images, labels = np.repeat(digits, 2, axis=0), np.arange(40) % 10
    split = {"images": images, "labels": labels}
    np.savez(
        web / "mirror" / "fashion.npz",
        note=np.array(COPY),
        **{f"{name}_{key}": values for name in ("train", "test") for key, values in split.items()},
    )


def write_own() -> None:
    """Write images of the user's own: arrays, and a folder of pictures."""
    (train_images, train_labels), (test_images, test_labels) = squares(9, 0), squares(9, 1)
    np.savez(
        "own.npz",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("apple", "pear"):
            Path("own", split, name).mkdir(parents=True)
            for number in range(3):
                pixels = noise.integers(0, 256, (24, 24, 3), np.uint8)
                Image.fromarray(pixels).save(f"own/{split}/{name}/{number}.png")


def write_settings() -> None:
    """Write a params.yaml with every data set, a run on each, and the paper's table of benchmarks with those runs."""
    empty = ("tune", "figures", "compare", "pairs", "robustness", "published_weights")
    params = tiny_params() | {"datasets": DATA_SETS} | {name: {} for name in empty}
    params["tracking"]["tensorboard"] = False
    params["runs"] = {name: json.loads(run.model_dump_json()) for name, run in RUNS.items()}
    table = json.loads(PARAMS.tables["paper-benchmarks"].model_dump_json())
    protocols = {row["run"]: row["protocol"] for row in table["runs"]}
    rows = [{"run": name, "protocol": protocols.get(name, ""), "ensemble": name == "cifar10-sabour"} for name in RUNS]
    table |= {"study": "toy", "runs": rows}
    params["studies"]["toy"]["tables"] = ["benchmarks"]
    params["tables"] = {"toy-benchmarks": table}
    params["published"] = {run: json.loads(PARAMS.published[run].model_dump_json()) for run in PROTOCOLS}
    write_params(Path(), params)


def run_stage(name: str, argument: str) -> None:
    importlib.import_module(f"pipeline.{name}").main([argument])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Stand in a project after every stage of every data set and run; what they said on the way."""
    folder = tmp_path_factory.mktemp("finished")
    warnings = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(warnings):
        patch.chdir(folder)
        write_files(folder / "web")
        write_own()
        write_settings()
        with served(folder / "web") as address:
            for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
                patch.delenv(name, raising=False)
            patch.setenv("CAPSNET_MIRROR", f"{address}/mirror")
            for name in WRITERS:
                take_as_official(official(name), folder / "web" / name, patch)
                patch.setattr(official(name), "servers", partial(tuple, [f"{address}/{name}"]))
                run_stage("download", name)
        for name in DATA_SETS:
            run_stage("prepare", name)
        for stage in ("train", "evaluate"):
            for name in RUNS:
                run_stage(stage, name)
        run_stage("tabulate", "toy-benchmarks")
        yield warnings.getvalue()


@pytest.mark.parametrize("name", RUNS)
def test_a_run_on_every_data_set_is_trained_and_scored_on_all_of_its_images(name: str, finished: str) -> None:
    run = RUNS[name]
    metrics = json.loads(Path(f"reports/toy/metrics/{name}.json").read_text())
    manifest = read_manifest(run.dataset)
    assert list(metrics["seeds"]) == [str(seed) for seed in run.seeds]
    assert metrics["test_images"] == manifest.test
    history = pd.read_csv(f"models/{name}/history.csv")
    assert history[["seed", "epoch"]].to_numpy().tolist() == [[seed, 1] for seed in run.seeds]
    assert np.isfinite(history.dropna(axis=1, how="all").to_numpy()).all()
    config = load(f"models/{name}/seed-{run.seeds[0]}.safetensors").config
    shape = (run.crop or manifest.image_size, manifest.channels, manifest.classes)
    assert (config.image_size, config.channels, config.classes) == shape


def test_every_run_has_a_row_under_the_name_of_its_protocol_beside_what_is_published(finished: str) -> None:
    table = pd.read_csv("reports/toy/tables/benchmarks.csv")
    assert table["run"].tolist() == [*RUNS, "cifar10-sabour"]
    models = dict(zip(table["run"].iloc[:-1], table["model"], strict=False))
    for run in PROTOCOLS:
        assert models[run].startswith("Sabour et al. protocol, " if run.endswith("sabour") else "reference protocol, ")
    shown = table[table["published_accuracy"].notna()]
    assert shown["run"].tolist() == PROTOCOLS
    assert shown["published_accuracy"].tolist() == [PARAMS.published[run].accuracy for run in PROTOCOLS]
    assert shown["model"].iloc[-1] == "Sabour et al. protocol, no decoder (ensemble of 2)"


@pytest.mark.parametrize("dataset", DATA_SETS)
def test_what_is_not_exact_about_a_data_set_is_said_at_every_stage_and_nothing_of_others(
    dataset: str, finished: str
) -> None:
    run = next(name for name, run in RUNS.items() if run.dataset == dataset)
    note = NOTES.get(dataset, "")
    assert read_manifest(dataset).note == note
    assert json.loads(Path(f"reports/toy/metrics/{run}.json").read_text())["note"] == note
    assert (f"warning: {dataset}: {note}\n" in finished) == bool(note)
    footnote = f"Data: {dataset}: {note}."
    for kind, escaped in (("md", footnote), ("tex", footnote.replace("&", r"\&").replace("%", r"\%"))):
        assert (escaped in Path(f"reports/toy/tables/benchmarks.{kind}").read_text()) == bool(note), kind


def test_a_copy_is_announced_when_it_is_downloaded(finished: str) -> None:
    said = "warning: fashion: a copy from CAPSNET_MIRROR, not the original files: data/raw/fashion/fashion.npz"
    assert said in finished
    assert finished.count("a copy from CAPSNET_MIRROR") == 1
