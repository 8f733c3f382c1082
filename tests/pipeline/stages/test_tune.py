"""A search says what it cannot do, checks its settings, and explains its choice in tables and page."""

import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tiny_project import tiny_params, write_params

from pipeline import report, tune
from pipeline.reporting.page import gather
from pipeline.reporting.tables import build
from pipeline.settings.params import load_params
from pipeline.settings.reading import read_yaml

RESULTS = Path("reports/toy/tuning/toy")


def test_a_search_without_a_finished_trial_says_so_and_what_to_change(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*arguments: object, **options: object) -> None:
        raise FloatingPointError

    monkeypatch.setattr("pipeline.searching.trial.train", diverge)
    with pytest.raises(
        ValueError, match=r"trials: got 4 whose loss is not finite, expected one .* lower the bounds of lr"
    ):
        tune.main(["toy"])
    assert not RESULTS.exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "alpha",
            [0.001, 0.01],
            "tune.toy.alpha: got [0.001, 0.01], expected bounds that hold 0.0005, the alpha of toy",
        ),
        ("lr", [0.02, 0.1], "tune.toy.lr: got [0.02, 0.1], expected bounds that hold 0.01, the lr of toy-fc"),
        ("lr", [0.001, 0.009], "tune.toy.lr: got [0.001, 0.009], expected bounds that hold 0.01, the lr of toy-fc"),
        ("sampler", {"name": "grid", "startup_trials": 1}, "tune.toy.sampler.name: got 'grid', expected 'tpe'"),
        ("sampler", {"startup_trials": 1}, "tune.toy.sampler.name: missing"),
        ("sampler", {"name": "tpe"}, "tune.toy.sampler.startup_trials: missing"),
        (
            "sampler",
            {"name": "tpe", "startup_trials": 4},
            "tune.toy.sampler.startup_trials: got 4, expected fewer than",
        ),
        ("sampler", {"name": "tpe", "startup_trials": 1, "seed": 1}, "tune.toy.sampler.seed: unknown key"),
        ("pruner", {"name": "best"}, "tune.toy.pruner.name: got 'best', expected one of median, none"),
        ("pruner", {}, "tune.toy.pruner.name: missing"),
        ("pruner", {"name": "none", "epochs": 1}, "tune.toy.pruner.epochs: unknown key, this name takes name"),
        (
            "pruner",
            {"name": "median", "startup_trials": 1, "warmup_epochs": 2},
            "tune.toy.pruner.warmup_epochs: got 2, expected fewer than 2, or the pruner none",
        ),
    ],
)
def test_a_fault_in_a_search_is_found_when_params_are_read(project: Path, key: str, value: Any, said: str) -> None:
    params = tiny_params()
    params["tune"]["toy"][key] = value
    write_params(project, params)
    with pytest.raises(ValueError, match=r"params\.yaml") as caught:
        load_params()
    assert said in str(caught.value)


def test_the_tables_and_the_page_say_how_a_search_went_and_how_it_was_decided(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(results, tmp_path / "project"))
    best = Path("reports/toy/tuning/toy/best.yaml")
    chosen = read_yaml(best) | {"tied": [0, 1], "decided_by": "val_rloss"}
    best.write_text("".join(f"{key}: {value!r}\n" for key, value in chosen.items()))
    how = (
        "the run's own values first, random ones up to the first 2, then those of TPE; one that is behind the median "
        "of the others at the end of an epoch, from epoch 1 on, is given up once 2 are complete"
    )
    params = load_params()
    note = "toy-tuned: toy-fc with the alpha and lr of the best of 4 trials of 2 epochs on held-out training images: "
    assert note + how + "." in build("toy-decoders", params).notes
    assert not [said for said in build("toy-robustness", params).notes if "TPE" in said]
    (search,) = gather("toy", params).searches
    assert search.method == how
    assert search.decided == (
        "Trials 0 and 1 tie at 95.00 % of the held-out images; the lowest RLoss on them decided for trial 1."
    )
    report.main(["toy"])
    for page in ("index.html", "README.md"):
        text = " ".join(unescape(Path("reports/toy", page).read_text()).split())
        assert how in text
        assert search.decided in text
