"""The pages of MLflow, Optuna and TensorBoard show a small study that was made, in a real browser.

The study is a copy of the one that was made, served by the commands that the guide names. A test opens a page and
reads what a person sees there.
"""

import json
import os
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import CHROMIUM, NO_CHROMIUM, Browser, BrowserPage, browser
from servers import free_port, serving
from small_study import PATH, SmallStudy
from tiny_project import ROOT

from pipeline.settings.reading import read_yaml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM),
]

PATIENCE = 200  # seconds until a server answers
RUNS = ("toy-fc", "toy-tuned")
LINKS = "[...document.querySelectorAll('a')]"
# The table of runs is drawn in three parts side by side. A row of each part has the same index.
ROWS = """[...document.querySelectorAll('[role=row][row-index]')].reduce((rows, row) => {
    const index = Number(row.getAttribute('row-index'));
    rows[index] = (rows[index] ?? []).concat(row.innerText.split('\\n').filter(Boolean));
    return rows;
}, [])"""
# Each point that a chart draws: the name of its line, or its own, and where it is.
POINTS = """[...document.querySelectorAll('.js-plotly-plot')].flatMap(chart => chart.data).flatMap(
    ({name, text, x, y}) => [...y ?? []].map((height, n) =>
        JSON.stringify([Array.isArray(text) ? text[n] : name, Number(x[n]), Number(height)])))"""


@pytest.fixture(scope="module")
def shown(made: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """A copy of the study that was made, in which `make` takes the environment of the tests."""
    study = made.copied(tmp_path_factory.mktemp("shown") / "study")
    shutil.copy(ROOT / "Makefile", study.folder)
    (study.folder / "requirements.lock").touch()
    (study.folder / ".venv").mkdir()
    (study.folder / ".venv/.built").touch()
    return study


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@contextmanager
def served(study: SmallStudy, command: Sequence[str], asked: str) -> Iterator[Path]:
    """Run a server in the folder of the study until the block ends; yield the file with what it says."""
    variables = {**os.environ, "PATH": PATH, "MLFLOW_WORKERS": "1"}
    said = study.folder / ".scratch/said.txt"
    with (
        said.open("w") as file,
        serving(command, asked, PATIENCE, cwd=study.folder, env=variables, stdout=file, stderr=subprocess.STDOUT),
    ):
        yield said


@pytest.fixture(scope="module")
def addresses(shown: SmallStudy) -> Iterator[dict[str, str]]:
    """The addresses that `make ui` prints, by the name of the page; they answer."""
    port = free_port()
    command = ["make", "--no-print-directory", "ui", f"PORT={port}"]
    with served(shown, command, f"http://127.0.0.1:{port}/health") as said:
        lines = [line.split() for line in said.read_text().splitlines() if f"127.0.0.1:{port}/#" in line]
        yield {line[0].removesuffix(":"): line[1] for line in lines}


def metrics_of(study: SmallStudy, run: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((study.folder / f"reports/toy/metrics/{run}.json").read_text())
    return read


def trials_of(study: SmallStudy) -> pd.DataFrame:
    return pd.read_csv(study.folder / "reports/toy/tuning/toy/trials.csv")


def wait_for_text(page: BrowserPage, *texts: str) -> str:
    """Wait until a page shows all of these texts at once, and return everything that it shows.

    A page that does not is loaded once more, as a person would do. Raises AssertionError with what it shows instead.
    """
    shown = f"{json.dumps(texts)}.every(text => document.body.innerText.includes(text))"
    try:
        page.wait_for(shown)
    except TimeoutError:
        page.reload()
        with suppress(TimeoutError):
            page.wait_for(shown)
    text = str(page.evaluate("document.body.innerText"))
    missing = [each for each in texts if each not in text]
    assert not missing, f"no {missing} at {page.evaluate('location.href')}; {page.errors}; instead:\n{text}"
    return text


def follow(page: BrowserPage, text: str) -> None:
    """Click on the link with this text, as soon as it is there, and wait until the address is another."""
    before = json.dumps(page.evaluate("location.href"))
    found = f"{LINKS}.find(link => link.innerText.split('\\n').includes({json.dumps(text)}))"
    page.wait_for(f"Boolean({found})")
    page.evaluate(f"{found}.click()")
    page.wait_for(f"location.href !== {before}")


def wait_for_points(page: BrowserPage, points: Sequence[tuple[str, float, float]]) -> None:
    """Wait until charts draw each of these points: a name, x and y."""
    page.wait_for(f"{json.dumps(points)}.every(point => ({POINTS}).includes(JSON.stringify(point)))")


def number_after(text: str, name: str) -> float:
    """Return the number in the line after the line `name`."""
    lines = text.splitlines()
    return float(lines[lines.index(name) + 1])


def test_make_ui_shows_each_run_in_a_row_with_its_scores(
    addresses: dict[str, str], shown: SmallStudy, chromium: Browser
) -> None:
    assert list(addresses) == ["runs", "curves", "seeds", "search"]
    page = chromium.open(addresses["runs"], width=1700)
    wait_for_text(page, "Model training", "2 matching runs", *RUNS)
    page.wait_for(f"({ROWS}).every(row => row.length > 6)")
    rows = {next(cell for cell in row if cell in RUNS): row for row in page.evaluate(ROWS)}
    for run in RUNS:
        metrics = metrics_of(shown, run)
        cells = [float(cell) for cell in rows[run] if cell.replace(".", "").isdigit()]
        for score in ("accuracy_mean", "rloss_mean", "mloss_mean", "epochs"):
            assert metrics[score] in cells, score
        assert "fc" in rows[run]  # the decoder
    follow(page, "toy-fc")
    text = wait_for_text(page, "test_accuracy", "toy-fc seed 0", "tensorboard")
    assert number_after(text, "test_accuracy") == metrics_of(shown, "toy-fc")["accuracy_mean"]
    assert number_after(text, "conv_channels") == 4


def test_make_ui_draws_the_curve_of_each_run_and_each_seed(
    addresses: dict[str, str], shown: SmallStudy, chromium: Browser
) -> None:
    for view, names in (("curves", RUNS), ("seeds", [f"{run} seed 0" for run in RUNS])):
        page = chromium.open(addresses[view], width=1700, height=1600)
        wait_for_text(page, "train_loss", "val_accuracy", "test_accuracy", *names)
        for run, name in zip(RUNS, names, strict=True):
            history = pd.read_csv(shown.folder / f"models/{run}/history.csv")
            for metric in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
                pairs = zip(history["epoch"].tolist(), history[metric].tolist(), strict=True)
                wait_for_points(page, [(name, epoch, value) for epoch, value in pairs])


def test_make_ui_draws_the_trials_of_a_search(addresses: dict[str, str], shown: SmallStudy, chromium: Browser) -> None:
    page = chromium.open(addresses["search"], width=1700, height=1600)
    trials = trials_of(shown)
    names = [f"toy trial {number}" for number in trials["trial"]]
    wait_for_text(page, f"{len(trials)} matching runs", "Parallel Coordinates", "lr vs. val_accuracy", *names)
    for name, trial in zip(names, trials.itertuples(), strict=True):
        wait_for_points(page, [(name, setting, trial.val_accuracy) for setting in (trial.alpha, trial.lr)])
        wait_for_points(page, [(name, trial.alpha, trial.lr)])


def test_the_models_tab_leads_to_each_network_and_its_scores(
    addresses: dict[str, str], shown: SmallStudy, chromium: Browser
) -> None:
    page = chromium.open(addresses["runs"], width=1700)
    follow(page, "Models")
    wait_for_text(page, "Model name", "Ready", *(f"{run}-seed-0" for run in RUNS))
    follow(page, "toy-tuned-seed-0")
    text = wait_for_text(page, "About this logged model", "test_accuracy", "Model ID")
    scores = metrics_of(shown, "toy-tuned")["seeds"]["0"]
    lines = text.splitlines()
    for score in ("accuracy", "rloss", "mloss"):
        row = lines[lines.index(f"test_{score}") :][:4]
        assert row[2] == "toy-tuned seed 0"
        assert float(row[3]) == scores[score]


def test_optunas_dashboard_shows_the_study_of_a_search_and_its_best_trial(shown: SmallStudy, chromium: Browser) -> None:
    (journal,) = shown.folder.glob(".scratch/tune/toy/*/journal.log")
    port = free_port()
    command = ["optuna-dashboard", str(journal), "--port", str(port)]
    best = read_yaml(shown.folder / "reports/toy/tuning/toy/best.yaml")
    address = f"http://127.0.0.1:{port}/dashboard"
    with served(shown, command, address):
        page = chromium.open(address, width=1400)
        follow(page, f"0. {best['study']}")
        best_trial = f"Best Trial (number={best['trial']})\n{best['val_accuracy']:g}\n"
        settings = f"Params = [alpha: {best['alpha']}, lr: {best['lr']}]"
        wait_for_text(page, "History", "Hyperparameter Importance", best_trial, settings)
        trials = trials_of(shown).itertuples()
        wait_for_points(page, [(f"trial #{trial.trial} ", trial.epochs, trial.val_accuracy) for trial in trials])


def test_tensorboard_shows_each_training_and_its_last_loss(shown: SmallStudy, chromium: Browser) -> None:
    port = free_port()
    command = ["tensorboard", "--logdir", "tensorboard", "--port", str(port)]
    query = urllib.parse.urlencode({"tagFilter": "train_loss"})
    with served(shown, command, f"http://127.0.0.1:{port}/"):
        page = chromium.open(f"http://127.0.0.1:{port}/?{query}#timeseries", width=1400)
        for run in RUNS:
            (fingerprint,) = (path.name for path in (shown.folder / "tensorboard" / run).iterdir())
            last = pd.read_csv(shown.folder / f"models/{run}/history.csv").iloc[-1]
            text = wait_for_text(page, f"{run}/{fingerprint}/seed-0", "Smoothed")
            row = text[text.rindex(f"{run}/{fingerprint}/seed-0") :].split()
            assert row[2:4] == [f"{last['train_loss']:.4f}".rstrip("0"), f"{last['epoch']:.0f}"]
