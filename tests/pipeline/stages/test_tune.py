"""A search gives the same trials in any Optuna storage and whenever it was killed, and says how it was decided."""

import math
import os
import shutil
from collections.abc import Callable
from functools import partial
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import OperationalError
from tiny_project import tiny_params, write_params

from pipeline import report, tune
from pipeline.reporting.page import gather
from pipeline.reporting.search_method import decided
from pipeline.reporting.tables import build
from pipeline.runtime.command_line import run_stage
from pipeline.settings.params import load_params
from pipeline.settings.reading import read_yaml
from pipeline.tracking.recorder import untracked

RESULTS = Path("reports/toy/tuning/toy")
POSTGRES = "CAPSNET_TEST_POSTGRES"


def results() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RESULTS.iterdir()}


def search_in(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tune.main(["toy"])
    from_journal = results()
    monkeypatch.setenv(tune.OPTUNA, storage)
    before = set(optuna.get_all_study_names(storage))
    tune.main(["toy"])
    assert results() == from_journal
    tune.main(["toy"])
    assert results() == from_journal
    added = sorted(set(optuna.get_all_study_names(storage)) - before)
    assert [name.rpartition("-")[2] for name in added] == ["1", "2"]


@pytest.mark.slow
def test_a_sqlite_storage_gives_the_trials_of_the_journal(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search_in(f"sqlite:///{prepared}/optuna.db", monkeypatch)


@pytest.mark.postgres
@pytest.mark.skipif(POSTGRES not in os.environ, reason=f"needs {POSTGRES}, the URL of an empty database")
def test_a_postgresql_storage_gives_the_trials_of_the_journal(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search_in(os.environ[POSTGRES], monkeypatch)


def test_a_search_without_a_finished_trial_says_so_and_what_to_change(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*arguments: object, **options: object) -> None:
        raise FloatingPointError

    monkeypatch.setattr("capsnet.training.loop.train", diverge)
    with pytest.raises(
        ValueError, match=r"trials: got 4 whose loss is not finite, expected one .* lower the bounds of lr"
    ):
        tune.main(["toy"])
    assert not RESULTS.exists()


def trial(state: TrialState, value: float, rloss: float) -> FrozenTrial:
    distributions = {key: FloatDistribution(0.1, 1.0) for key in ("alpha", "lr")}
    return create_trial(
        state=state,
        value=value,
        params={"alpha": 0.5, "lr": 0.5},
        distributions=distributions,
        user_attrs={tune.RLOSS: rloss},
    )


def test_of_equal_accuracies_the_better_reconstruction_wins_and_pruned_trials_never_do() -> None:
    trials = [
        trial(TrialState.COMPLETE, 97.0, 5.0),
        trial(TrialState.COMPLETE, 98.0, 9.0),
        trial(TrialState.COMPLETE, 98.0, 7.0),
        trial(TrialState.PRUNED, 98.0, 1.0),
    ]
    best = tune.best_values(trials)
    assert (best["trial"], best["tied"], best["decided_by"]) == (2, [1, 2], "val_rloss")
    said = "Trials 1 and 2 tie at 98.00 % of the held-out images; the lowest RLoss on them decided for trial 2."
    assert decided(best) == said


def test_where_nothing_else_decides_the_first_of_equal_trials_wins_and_it_is_said() -> None:
    best = tune.best_values([trial(TrialState.COMPLETE, 98.0, 7.0)] * 3)
    assert (best["trial"], best["tied"], best["decided_by"]) == (0, [0, 1, 2], "trial")
    said = "Trials 0, 1 and 2 tie at 98.00 % of the held-out images; that it came first decided for trial 0."
    assert decided(best) == said


def test_where_one_trial_is_the_best_nothing_is_said_of_ties() -> None:
    best = tune.best_values([trial(TrialState.COMPLETE, value, 7.0) for value in (97.0, 98.0)])
    assert (best["tied"], best["decided_by"], decided(best)) == ([1], "val_accuracy", "")


class Killed(BaseException):
    """The process has gone: nothing catches it."""


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that cost nothing: an accuracy is worked out from alpha, lr and epoch; MLflow hears nothing."""

    def train(model: object, config: Any, *data: object, log: Callable[..., None], **options: object) -> Any:
        history = []
        for epoch in range(1, config.epochs + 1):
            off = abs(math.log(config.alpha / 0.002)) + abs(math.log(config.lr / 0.02))
            history.append({"val_accuracy": 100 - 10 * off / epoch, "val_rloss": 1000 * config.alpha})
            log(epoch, history[-1])
        return SimpleNamespace(history=history)

    monkeypatch.setattr("capsnet.training.loop.train", train)
    monkeypatch.setattr(tune, "tracked", lambda *arguments, **options: untracked())


def made_search(**changes: Any) -> tune.Search:
    params = tiny_params()
    params["tune"]["toy"] |= {"trials": 5, "epochs": 3, **changes}
    write_params(Path(), params)
    checked = load_params()
    data = SimpleNamespace(images=None, labels=None, groups=None, source=None)
    entry = checked.tune["toy"]
    none: Any = None
    return tune.Search(
        "toy", entry, checked.runs[entry.run], 0, checked, cast("Any", data), none, "owner", {"fingerprint": "f"}
    )


def searched(search: tune.Search, journal: Path) -> list[tuple[Any, ...]]:
    """Go on with the search in a journal, and return its finished trials."""
    with tune.opened_storage(journal) as storage, untracked() as parent:
        trials = tune.run_search(search, tune.open_study(search, storage), parent)
    return [(each.state, each.params, each.value, each.intermediate_values, each.user_attrs) for each in trials]


@pytest.mark.parametrize("torn", [False, True])
def test_a_search_killed_at_any_moment_has_the_trials_of_an_unbroken_one(
    torn: bool, project: Path, untrained: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each write to the journal: before it, or in the middle of it with the journal locked."""
    search = made_search()
    whole = searched(search, project / "whole.log")
    assert {state for state, *_ in whole} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert whole[0][1] == {"alpha": search.run.alpha, "lr": search.run.lr}
    append_logs = JournalFileBackend.append_logs
    writes = len((project / "whole.log").read_text().splitlines())
    assert writes > 20
    for last in range(1, writes):
        journal = project / f"{last}.log"
        written = 0

        def die(self: JournalFileBackend, logs: list[Any], journal: Path = journal, last: int = last) -> None:
            nonlocal written
            written += 1
            if written < last:
                append_logs(self, logs)
                return
            if torn:
                journal.with_name(journal.name + ".lock").symlink_to("gone")
                with journal.open("a") as file:
                    file.write('{"op_code":4,"worker')
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(JournalFileBackend, "append_logs", die)
            with pytest.raises(Killed):
                searched(search, journal)
        assert searched(search, journal) == whole, last


def test_every_trial_but_the_first_is_chosen_anew_within_the_bounds(project: Path, untrained: None) -> None:
    search = made_search(trials=12)
    tried = [parameters for _, parameters, *_ in searched(search, project / "journal.log")]
    for key in ("alpha", "lr"):
        low, high = getattr(search.entry, key)
        assert all(low <= values[key] <= high for values in tried)
        assert len({values[key] for values in tried}) == 12


def test_tpe_learns_from_the_trials_after_its_startup(project: Path, untrained: None) -> None:
    """As many random trials are farther from the optimum of the made-up accuracies, alpha 0.002, lr 0.02."""

    def distance(startup: int) -> float:
        search = made_search(trials=16, sampler={"name": "tpe", "startup_trials": startup}, pruner={"name": "none"})
        tried = [parameters for _, parameters, *_ in searched(search, project / f"{startup}.log")]
        late = [abs(math.log(each["alpha"] / 0.002)) + abs(math.log(each["lr"] / 0.02)) for each in tried[8:]]
        return sum(late) / len(late)

    assert distance(4) < 0.7 * distance(15)


def test_a_search_without_a_pruner_brings_every_trial_to_its_end(project: Path, untrained: None) -> None:
    trials = searched(made_search(pruner={"name": "none"}), project / "journal.log")
    assert {state for state, *_ in trials} == {TrialState.COMPLETE}


def test_two_workspaces_with_one_storage_have_a_study_each(project: Path, untrained: None) -> None:
    search = made_search()
    storage = optuna.storages.InMemoryStorage()
    ours, again, theirs = (
        tune.open_study(search._replace(owner=owner), storage) for owner in ("ours", "ours", "theirs")
    )
    assert ours.study_name == again.study_name != theirs.study_name


STORAGES = [
    "sqlite:////no/such/folder/optuna.db",
    "postgresql+psycopg://otto:pa%40ss%2Fword@127.0.0.1:1/optuna?connect_timeout=2",
    "postgresql+nodriver://otto:pa%40ss%2Fword@localhost/optuna",
    "oracle://otto:pa%40ss%2Fword@localhost/optuna",
    "mysql+pymysql://localhost/optuna?user=otto&password=pa%40ss%2Fword",
    "nonsense",
    "redis://localhost:6379",
]


@pytest.mark.parametrize("url", STORAGES)
def test_a_storage_that_cannot_be_used_ends_in_one_line_without_a_login(
    url: str, prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(tune.OPTUNA, url)
    with pytest.raises(SystemExit) as ended:
        run_stage(partial(tune.main, ["toy"]))
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(said.splitlines()) == 1, said
    assert said.startswith(f"error: {tune.OPTUNA}: {url.partition(':')[0]}")
    assert not [secret for secret in ("otto", "pa%40ss%2Fword", "pa@ss/word") if secret in said], said


def test_a_storage_that_fails_in_the_middle_of_a_search_ends_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(tune.OPTUNA, f"sqlite:///{project}/optuna.db")
    with (
        pytest.raises(
            ValueError, match=r"optuna\.db failed: .*has gone.*; the same command goes on once it works again"
        ),
        tune.opened_storage(project / "journal.log"),
    ):
        raise OperationalError("select 1", {}, Exception("the server has gone"))


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


@pytest.mark.parametrize("key", ["alpha", "lr"])
@pytest.mark.parametrize("side", [0, 1])
def test_bounds_may_be_the_runs_own_values(key: str, side: int, project: Path, untrained: None) -> None:
    params = tiny_params()
    bounds = list(params["tune"]["toy"][key])
    bounds[side] = params["runs"]["toy-fc"][key]
    search = made_search(**{key: bounds})
    assert searched(search, project / "journal.log")[0][1][key] == bounds[side]


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
