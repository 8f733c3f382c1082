"""Which study a search begins or continues."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from searches import made_search, searched
from servers import free_port, serving
from tiny_project import tiny_params, write_params

from pipeline import tune
from pipeline.searching.storage import open_storage
from pipeline.searching.study import FACTS, WRITTEN, facts_of, open_study
from pipeline.settings.reading import read_yaml


def finished(journal: Path, **changes: Any) -> str:
    """Make a search as `tune` does, and return the name of its study."""
    search = made_search(**changes)
    searched(search, journal)
    with open_storage(journal) as storage:
        (study,) = (each for each in studies(journal) if each.user_attrs.get(WRITTEN) is None)
        study = optuna.load_study(study_name=study.study_name, storage=storage.optuna)
        study.set_user_attr(WRITTEN, search.entry.trials)
    return str(study.study_name)


def studies(journal: Path) -> list[optuna.Study]:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def test_more_trials_continue_a_study_and_are_those_of_a_longer_search(
    project: Path, untrained: None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = searched(made_search(trials=8), project / "whole.log")
    journal = project / "journal.log"
    name = finished(journal, trials=4)
    assert searched(made_search(trials=8), journal) == whole
    assert [(study.study_name, len(study.trials)) for study in studies(journal)] == [(name, 8)]
    assert capsys.readouterr().err == f"toy: continues the study {name}, which has results with 4 trials\n"


def test_fewer_trials_are_the_first_ones_of_the_study(project: Path, untrained: None) -> None:
    journal = project / "journal.log"
    finished(journal, trials=6)
    assert searched(made_search(trials=4), journal) == searched(made_search(trials=4), project / "short.log")
    assert len(studies(journal)) == 1


def test_a_search_whose_results_are_written_is_repeated_in_a_new_study(project: Path, untrained: None) -> None:
    journal = project / "journal.log"
    name = finished(journal)
    searched(made_search(), journal)
    assert [study.study_name for study in studies(journal)] == [name, f"{name.removesuffix('-1')}-2"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"lr": [0.001, 0.2]}, "lr (from [0.001, 0.1] to [0.001, 0.2])"),
        ({"sampler": {"name": "tpe", "startup_trials": 3}}, "sampler (from {'name': 'tpe', 'startup_trials': 2} to "),
        ({"pruner": {"name": "none"}}, "pruner (from {'name': 'median'"),
        ({"epochs": 4}, "epochs (from 3 to 4)"),
    ],
)
def test_another_space_or_sampler_begins_a_new_study_and_says_why(
    changes: dict[str, Any], why: str, project: Path, untrained: None, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = project / "journal.log"
    name = finished(journal)
    searched(made_search(**changes, trials=6), journal)
    said = capsys.readouterr().err
    (first, second) = (study.study_name for study in studies(journal))
    assert said.startswith(f"toy: begins the study {second}: since {first}, this has changed: {why}")
    assert (first, len(said.splitlines())) == (name, 1)


def test_settings_of_the_run_that_a_search_replaces_continue_a_study(project: Path) -> None:
    search = made_search()
    longer = search._replace(run=search.run.model_copy(update={"epochs": 99, "validation": 0.3}))
    other = search._replace(run=search.run.model_copy(update={"batch_size": 99}))
    assert facts_of(longer) == facts_of(search) != facts_of(other)


@pytest.mark.parametrize("folder", ["capsnet", "pipeline/searching"])
def test_another_code_begins_a_new_study_and_says_so(
    folder: str, project: Path, untrained: None, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = project / "journal.log"
    name = finished(journal)
    (project / folder).mkdir(parents=True)
    (project / folder / "new.py").touch()
    searched(made_search(), journal)
    assert f"since {name}, this has changed: code in {folder}/\n" in capsys.readouterr().err


def test_another_version_of_torch_begins_a_new_study(
    project: Path, untrained: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(project / "journal.log")
    monkeypatch.setattr("torch.__version__", "2.99.0+cu999")
    searched(made_search(), project / "journal.log")
    assert "2.99.0+cu999" in capsys.readouterr().err


def test_where_nothing_was_searched_before_nothing_is_said(
    project: Path, untrained: None, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(made_search(), project / "journal.log")
    assert capsys.readouterr() == ("", "")


def test_a_process_that_helps_neither_repeats_a_search_nor_waits_for_one(project: Path, untrained: None) -> None:
    name = finished(project / "journal.log")
    with open_storage(project / "journal.log") as storage:
        with pytest.raises(ValueError, match=f"toy: got the finished study {name}, expected one to help with"):
            open_study(made_search(), storage.optuna, helps=True)
        assert open_study(made_search(trials=6), storage.optuna, helps=True).study_name == name
        assert FACTS in open_study(made_search(epochs=5), storage.optuna, helps=True).user_attrs


def test_the_journal_stays_and_opens_by_the_name_in_best_yaml(
    prepared: Path, untrained: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    tune.main(["toy"])
    best = read_yaml(Path("reports/toy/tuning/toy/best.yaml"))
    (journal,) = Path(".scratch/tune/toy").glob("*/journal.log")
    assert f"study {best['study']} in {journal.resolve()}" in capsys.readouterr().out
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name=best["study"], storage=storage)
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    assert study.trials[best["trial"]].params == {key: best[key] for key in ("alpha", "lr")}
    optuna_program = Path(sys.executable).with_name("optuna")
    command = [optuna_program, "trials", "--storage", journal, "--study-name", best["study"], "-f", "json"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert [trial["number"] for trial in json.loads(listed)] == [0, 1, 2, 3]
    client = MlflowClient(f"sqlite:///{prepared}/mlflow.db")
    (experiment,) = (each for each in client.search_experiments() if each.name == "test")
    runs = client.search_runs([experiment.experiment_id], f"tags.study = '{best['study']}'")
    names = {run.info.run_name for run in runs}
    assert names == {"tune toy", *(f"toy trial {number}" for number in range(4))}


@pytest.mark.slow
def test_the_dashboard_shows_the_study(prepared: Path, untrained: None) -> None:
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        pytest.skip("needs the extra `dashboard`")
    tune.main(["toy"])
    (journal,) = Path(".scratch/tune/toy").glob("*/journal.log")
    address = f"http://127.0.0.1:{(port := free_port())}/api/studies"
    with (
        serving([str(program), str(journal), "--port", str(port)], address, 100, stderr=subprocess.DEVNULL),
        urllib.request.urlopen(address, timeout=30) as answer,
    ):
        (shown,) = json.load(answer)["study_summaries"]
    assert shown["study_name"] == read_yaml(Path("reports/toy/tuning/toy/best.yaml"))["study"]


def test_more_trials_in_params_make_only_the_missing_ones(prepared: Path, untrained: None) -> None:
    results = Path("reports/toy/tuning/toy")
    tune.main(["toy"])
    name = read_yaml(results / "best.yaml")["study"]
    rows = (results / "trials.csv").read_text().splitlines()
    params = tiny_params()
    params["tune"]["toy"]["trials"] = 8
    write_params(prepared, params)
    tune.main(["toy"])
    assert (results / "trials.csv").read_text().splitlines()[: len(rows)] == rows
    best = read_yaml(results / "best.yaml")
    assert (best["study"], best["trials"]) == (name, 8)
    (journal,) = Path(".scratch/tune/toy").glob("*/journal.log")
    assert [len(study.trials) for study in studies(journal)] == [8]


def test_equal_trials_say_nothing_beyond_the_result(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Optuna's measures of importance speak of quantiles where all values are equal: nothing asks for them."""
    from types import SimpleNamespace

    def train(model: object, config: Any, *data: object, log: Any, **options: object) -> Any:
        history = [{"val_accuracy": 95.0, "val_rloss": 1.0} for _ in range(config.epochs)]
        for epoch, values in enumerate(history, 1):
            log(epoch, values)
        return SimpleNamespace(history=history)

    monkeypatch.setattr("pipeline.searching.trial.train", train)
    capfd.readouterr()
    tune.main(["toy"])
    out, err = capfd.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == ["study", "Trials", "alpha:"]
