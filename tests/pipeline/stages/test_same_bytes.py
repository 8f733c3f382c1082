"""The same project gives the same bytes, from training data alone."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from every_stage import REPORTS, contents, run_stage
from tiny_project import make_project, tiny_params, write_params

from pipeline.runtime.paths import model_files


def test_the_same_project_gives_the_same_bytes_again(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_project(tmp_path))
    for name, arguments in [
        ("prepare", ["squares"]),
        ("train", ["toy-deconv_bn"]),
        ("train", ["toy-pairs"]),
        ("evaluate", ["toy-deconv_bn"]),
        ("evaluate", ["toy-pairs"]),
        ("tune", ["toy"]),
        ("decode", ["squares"]),
    ]:
        run_stage(name, arguments)
    for folder in ("data", "models/toy-deconv_bn", "models/squares-primary", "models/toy-pairs", "reports/toy/tuning"):
        assert contents(tmp_path / folder) == contents(there / folder), folder
    for run in ("toy-deconv_bn", "toy-pairs"):
        again = (tmp_path / REPORTS / f"metrics/{run}.json").read_bytes()
        assert again == (there / REPORTS / f"metrics/{run}.json").read_bytes()


def test_training_and_tuning_never_read_the_test_split(
    prepared: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared)
    with np.load("data/squares.npz") as arrays:
        training_only = {name: arrays[name] for name in arrays if not name.startswith("test")}
    np.savez("data/squares.npz", **training_only)
    run_stage("train", ["toy-fc"])
    run_stage("train", ["toy-deconv_bn"])
    run_stage("decode", ["squares"])
    run_stage("tune", ["toy"])
    assert contents(prepared / "models/toy-fc") == contents(there / "models/toy-fc")
    assert contents(prepared / "models/squares-primary") == contents(there / "models/squares-primary")
    # The study is named after the data file, which is another one here.
    one, other = (
        {name: re.sub(rb"^study: .*$", b"", data, flags=re.MULTILINE) for name, data in contents(tuning).items()}
        for tuning in (prepared / "reports/toy/tuning", there / "reports/toy/tuning")
    )
    assert one == other


def test_an_ad_hoc_run_writes_into_its_folder_alone_and_can_be_continued(prepared: Path) -> None:
    before = contents(prepared / "models") if (prepared / "models").exists() else {}
    settings = ["toy-fc", "--seeds", "0", "--set", "decoder=deconv", "--out"]
    run_stage("train", [*settings, "long", "--set", "epochs=3"])
    run_stage("train", [*settings, "short", "--set", "epochs=1"])
    state = "short/seed-0.state.safetensors"
    run_stage("train", [*settings, "continued", "--set", "epochs=3", "--resume", state])
    assert (contents(prepared / "models") if (prepared / "models").exists() else {}) == before
    long, continued = pd.read_csv("long/history.csv"), pd.read_csv("continued/history.csv")
    pd.testing.assert_frame_equal(long, continued, check_exact=True)
    run_stage("evaluate", ["toy-fc", "--out", "continued"])
    assert json.loads(Path("continued/toy-fc.json").read_text())["epochs"] == 3


def test_a_run_without_decoder_goes_through_training_and_evaluation(prepared: Path) -> None:
    params = tiny_params()
    params["runs"]["toy-fc"] |= {"decoder": "none", "validation": 0.0}
    write_params(prepared, params)
    run_stage("train", ["toy-fc"])
    run_stage("evaluate", ["toy-fc"])
    metrics = json.loads(Path("reports/toy/metrics/toy-fc.json").read_text())
    assert metrics["decoder_parameters"] == 0
    assert "rloss_mean" not in metrics
    assert list(model_files(Path("models/toy-fc"))) == [0, 1]
