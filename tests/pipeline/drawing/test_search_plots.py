"""The plots of a search, from trials made by hand."""

from pathlib import Path

import pandas as pd
import pytest
from tiny_project import tiny_params

from pipeline.drawing.search_plots import PLOTS, history, parallel, rank_correlations, save_plots, tied
from pipeline.settings.searching import Tune

ENTRY = Tune.model_validate(tiny_params()["tune"]["toy"])
STATES = ["complete", "complete", "pruned", "complete"]


def trials(*accuracies: float, states: list[str] = STATES) -> pd.DataFrame:
    values = {"alpha": [0.0001, 0.001, 0.002, 0.01], "lr": [0.1, 0.05, 0.02, 0.001], "val_accuracy": accuracies}
    table = pd.DataFrame({"trial": range(4), "state": states, **values, "epochs": 2, "val_rloss": 20.0})
    return table.astype({"val_accuracy": float})


def labels(figure: object) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_trials_that_tie_are_all_named_and_a_stopped_one_is_never_the_best() -> None:
    table = trials(90, 95, 99, 95)
    assert tied(table) == [1, 3]
    assert labels(history(table, ENTRY)) == ["highest so far", "complete", "stopped", "tie: 1 and 3"]
    assert labels(history(trials(90, 95, 99, 94), ENTRY))[-1] == "best: 1"


def test_each_complete_trial_has_a_line_through_its_values() -> None:
    lines = [line.get_ydata() for line in parallel(trials(90, 95, 99, 94), ENTRY).axes[0].lines]
    through = sorted(line.tolist() for line in lines if len(line) == 3)
    assert through == [pytest.approx([0, 1, 0]), pytest.approx([0.5, 0.849485, 1]), pytest.approx([1, 0, 0.8])]


def test_ranks_are_those_of_the_complete_trials() -> None:
    assert rank_correlations(trials(90, 91, 0, 92)) == pytest.approx({"alpha": 1.0, "lr": -1.0})


@pytest.mark.parametrize("accuracies", [(90, 95, 99, 94), (95, 95, 95, 95)])
@pytest.mark.parametrize("states", [STATES, ["complete", "pruned", "pruned", "pruned"], ["complete"] * 4])
def test_every_plot_can_be_drawn_and_gives_equal_bytes(
    accuracies: tuple[float, ...], states: list[str], tmp_path: Path
) -> None:
    written = []
    for _ in range(2):
        save_plots(trials(*accuracies, states=states), ENTRY, tmp_path)
        written.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {f"{name}.png" for name in PLOTS}
