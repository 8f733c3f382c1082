"""Findings: sentences about tables and searches, against numbers worked out by hand."""

import pandas as pd
import pytest

from pipeline.reporting.findings import benchmarks, decoders, missing, robustness, search_plots, topologies
from pipeline.settings.tables import Benchmarks, Decoders, Robustness, Topologies

ENTRY = {"study": "toy", "title": "Toy", "runs": ()}
DECODERS = Decoders(**ENTRY, kind="decoders")
BENCHMARKS = Benchmarks(study="toy", title="Toy", kind="benchmarks", runs=(), published=())
TOPOLOGIES = Topologies(**ENTRY, kind="topologies", base="base")
ROBUSTNESS = Robustness(**ENTRY, kind="robustness", degrees=(0,))


def decoder_table(accuracies: list[float], spreads: list[float | None], **columns: list[object]) -> pd.DataFrame:
    empty = [float("nan")] * len(accuracies)
    values: dict[str, list[object]] = {
        "run": [f"run-{number}" for number in range(len(accuracies))],
        "model": [*"ABCDEF"[: len(accuracies)]],
        "decoder_parameters": [0] * len(accuracies),
        "seeds": [3] * len(accuracies),
        "rloss_mean": [*empty],
        "published_rloss": [*empty],
        "accuracy_mean": [*accuracies],
        "accuracy_std": [*spreads],
        "published_accuracy": [*empty],
    }
    return pd.DataFrame(values | columns).astype({"accuracy_std": float})


def test_decoders_that_differ_by_less_than_their_seeds_are_said_to() -> None:
    assert decoders(decoder_table([97.0, 97.5, 97.25], [0.5, 0.25, 0.125]), DECODERS) == [
        "Highest mean accuracy: B (97.50 %); lowest: A (97.00 %).",
        "They are 0.50 points apart, within the standard deviation between seeds of one run (0.12 to 0.50 points, "
        "n = 3): the order may be chance.",
    ]


def test_decoders_that_differ_by_more_are_not_called_chance_and_equals_are_named_together() -> None:
    said = decoders(decoder_table([97.0, 98.0, 98.0], [0.25, 0.25, 0.5]), DECODERS)
    assert said[0] == "Highest mean accuracy: B and C (98.00 %); lowest: A (97.00 %)."
    assert said[1].startswith("They are 1.00 points apart, more than")
    assert "chance" not in said[1]


def test_a_single_seed_has_no_spread_to_compare_with_and_equal_decoders_no_order() -> None:
    assert decoders(decoder_table([97.0, 98.0], [None, None], seeds=[1, 1]), DECODERS) == [
        "Highest mean accuracy: B (98.00 %); lowest: A (97.00 %)."
    ]
    said = decoders(decoder_table([97.0, 97.0], [0.5, 0.5], seeds=[2, 3]), DECODERS)
    assert said == ["Mean accuracy: 97.00 %, A and B (n = 2 and 3)."]


def test_reconstruction_size_and_published_values_of_decoders_are_compared() -> None:
    columns = {"rloss_mean": [21.0, 10.5], "decoder_parameters": [1000, 250], "published_rloss": [20.0, None]}
    table = decoder_table([97.0, 98.0], [0.1, 0.1], **columns, published_accuracy=[97.5, None])
    assert decoders(table, DECODERS)[2:] == [
        "Best reconstruction: B, RLoss 10.50 per image.",
        "Smallest decoder: B, 250 parameters, 75.0 % fewer than the 1,000 of A.",
        "Points against the published accuracy: A −0.50 (97.50 %).",
        "RLoss against the published one: A +1.00 (20.00).",
    ]


FEWER = "with 82 % fewer parameters in the decoder"
FOUR = {
    "model": ["FC", "FC w/ BN", "DeConv", "DeConv w/ BN"],
    "decoder_parameters": [1000, 1000, 180, 180],
    "rloss_mean": [21.0, 13.0, 13.5, 9.0],
    "rloss_std": [0.5, 0.25, 0.5, 0.25],
    "published_rloss": [21.5, 13.25, 11.0, 9.5],
}


def test_the_claims_about_decoders_are_held_against_what_came_out() -> None:
    table = decoder_table([99.0] * 4, [0.1] * 4, **FOUR)
    assert decoders(table, DECODERS)[:5] == [
        f"DeConv reconstructs better than FC: RLoss 13.50 against 21.00 (n = 3), {FEWER}.",
        f"DeConv w/ BN reconstructs better than FC w/ BN: RLoss 9.00 against 13.00 (n = 3), {FEWER}.",
        "FC w/ BN reconstructs better than FC: RLoss 13.00 against 21.00 (n = 3).",
        "DeConv w/ BN reconstructs better than DeConv: RLoss 9.00 against 13.50 (n = 3).",
        "The order of RLoss is not the published one: from FC, DeConv, FC w/ BN down to DeConv w/ BN; published: FC, "
        "FC w/ BN, DeConv, DeConv w/ BN.",
    ]
    table["rloss_mean"] = [13.6, 13.0, 13.5, 9.0]
    said = decoders(table, DECODERS)
    assert said[0].endswith(
        "(n = 3), which is within the spread of the seeds, with 82 % fewer parameters in the decoder."
    )
    table["rloss_mean"] = [21.0, 13.0, 11.0, 11.0]
    assert decoders(table, DECODERS)[3].startswith(
        "DeConv w/ BN reconstructs as well as DeConv: RLoss 11.00 against 11"
    )
    table["rloss_mean"] = [21.0, 13.0, 10.0, 11.0]
    assert "DeConv w/ BN reconstructs worse than DeConv: RLoss 11.00 against 10.00 (n = 3)." in decoders(
        table, DECODERS
    )


def test_a_claim_of_which_a_side_is_missing_is_not_made() -> None:
    table = decoder_table([99.0] * 4, [None] * 4, **FOUR)
    table.loc[[1, 2], ["accuracy_mean", "rloss_mean"]] = float("nan")
    table["rloss_std"] = float("nan")
    table["seeds"] = [1, 0, 0, 1]
    said = decoders(table, DECODERS)
    assert said[:3] == [
        "Not run yet: run-1 and run-2.",
        "The order of RLoss of these 2 is the published one: from FC down to DeConv w/ BN.",
        "Mean accuracy: 99.00 %, FC and DeConv w/ BN (n = 1).",
    ]
    table.loc[[1, 2], "decoder_parameters"] = float("nan")  # then the others are no whole numbers in a file either
    assert decoders(table, DECODERS)[4].startswith(
        "Smallest decoder: DeConv w/ BN, 180 parameters, 82.0 % fewer than the"
    )
    table["accuracy_mean"] = float("nan")
    assert decoders(table, DECODERS) == ["Not run yet: run-0, run-1, run-2 and run-3."]


def test_a_run_that_is_scored_but_makes_no_ensemble_is_not_called_missing() -> None:
    table = pd.DataFrame({"run": ["a", "a", None], "accuracy_mean": [99.0, None, None]})
    assert missing(table) == []
    assert missing(table.iloc[1:]) == ["Not run yet: a."]


def test_runs_of_one_model_are_told_apart_by_their_names() -> None:
    said = decoders(decoder_table([97.0, 98.0], [0.1, 0.1], model=["FC", "FC"]), DECODERS)
    assert said[0] == "Highest mean accuracy: run-1 (98.00 %); lowest: run-0 (97.00 %)."


def test_benchmarks_are_compared_within_a_data_set_and_ensembles_with_their_networks() -> None:
    rows = [
        ("a", "FC", "mnist", 3, 99.5, 0.1, 99.75, "S, table 1", -0.25),
        ("b", "FC", "mnist", 3, 99.0, 0.1, None, None, None),
        ("c", "none", "cifar10", 7, 70.0, 1.0, None, None, None),
        ("c", "none (ensemble of 7)", "cifar10", 1, 75.0, None, 89.5, "S, section 7", -14.5),
        (None, "Others", "mnist", None, None, None, 99.84, "T", None),
    ]
    columns = [
        "run",
        "model",
        "dataset",
        "seeds",
        "accuracy_mean",
        "accuracy_std",
        "published_accuracy",
        "source",
        "difference",
    ]
    assert benchmarks(pd.DataFrame(rows, columns=columns), BENCHMARKS) == [
        "Highest mean accuracy on mnist: a (99.50 %); lowest: b (99.00 %).",
        "They are 0.50 points apart, more than the standard deviation between seeds of one run (0.10 to 0.10 points, "
        "n = 3).",
        "Mean accuracy on cifar10: 70.00 %, c (n = 7).",
        "a: −0.25 points against the published 99.75 % (S, table 1).",
        "The 7 networks of c together: 75.00 %, +5.00 points against the mean of the single networks.",
        "The 7 networks of c together: −14.50 points against the published 89.50 % (S, section 7).",
    ]


def topology_table(accuracies: dict[str, float], spread: float | None) -> pd.DataFrame:
    rows = [
        ("size", value, "base" if value == "2" else f"size-{value}", accuracy, spread, accuracy - accuracies["2"])
        for value, accuracy in accuracies.items()
    ]
    columns = ["factor", "value", "run", "accuracy_mean", "accuracy_std", "difference"]
    return pd.DataFrame(rows, columns=columns).astype({"accuracy_std": float})


def test_a_setting_counts_where_it_moves_the_accuracy_by_more_than_both_spreads() -> None:
    assert topologies(topology_table({"1": 98.0, "2": 99.0, "3": 99.25}, 0.25), TOPOLOGIES) == [
        "base, from which each run differs in one setting, has 99.00 ± 0.25 %.",
        "Of 2 settings, size 1 moves the accuracy most: −1.00 points.",
        "Beyond the standard deviations of both runs together: size 1 (−1.00); none of the others.",
    ]
    said = topologies(topology_table({"1": 98.9, "2": 99.0}, 0.25), TOPOLOGIES)
    assert said[2] == "Beyond the standard deviations of both runs together: none of them."
    assert len(topologies(topology_table({"1": 98.9, "2": 99.0}, None), TOPOLOGIES)) == 2


def test_a_run_is_lost_at_the_first_angle_that_halves_its_accuracy() -> None:
    columns = ["run", "degrees", "accuracy_mean"]
    lost = [("a", 0, 98.0), ("a", 90, 48.0), ("a", 180, 50.0), ("a", 270, 20.0)]
    kept = [("b", 0, 98.0), ("b", 120, 60.0), ("b", 240, 70.0)]
    assert robustness(pd.DataFrame([*lost, *kept], columns=columns), ROBUSTNESS) == [
        "a: 98.00 % upright, 48.00 % at 90°; first below half of that at 90°, least at 270° (20.00 %), 50.00 % upside "
        "down.",
        "b: 98.00 % upright, 60.00 % at 120°; nowhere below half of that, least at 120° (60.00 %).",
    ]


def test_a_run_that_is_not_turned_is_compared_with_what_is_published() -> None:
    columns = ["run", "degrees", "accuracy_mean", "accuracy_std", "published_accuracy", "difference"]
    nothing = float("nan")
    rows = [
        ("a", nothing, 98.0, 1.0, nothing, nothing),
        *[("a", degrees, accuracy, 1.0, nothing, nothing) for degrees, accuracy in ((0, 98.0), (90, 40.0))],
        ("b", nothing, 77.5, 0.5, 79.0, -1.5),
        ("c", nothing, 60.0, nothing, nothing, nothing),
    ]
    assert robustness(pd.DataFrame(rows, columns=columns), ROBUSTNESS) == [
        "a: 98.00 % upright, 40.00 % at 90°; first below half of that at 90°, least at 90° (40.00 %).",
        "b: 77.50 ± 0.50 %, −1.50 points against 79.00 %.",
        "c: 60.00 %.",
    ]


@pytest.mark.parametrize("trials", [1, 4])
def test_the_plots_of_a_search_are_captioned_with_its_trials(trials: int) -> None:
    values = {"alpha": [0.1, 0.2, 0.3, 0.4], "lr": [4.0, 3.0, 2.0, 1.0], "val_accuracy": [90.0, 91.0, 92.0, 99.0]}
    states = [*["complete"] * 3, "pruned"]
    table = pd.DataFrame({"trial": range(4), "state": states, **values}).head(trials)
    said = {name: caption for name, _, caption in search_plots(table, min(trials, 3) - 1)}
    if trials == 1:
        assert said["importance"].endswith("alpha unknown, lr unknown (n = 1 trials).")
        return
    assert said["history"].endswith(
        "90.00 % in trial 0, 92.00 % at best, first in trial 2. 1 of 4 trials were given up early."
    )
    assert said["parallel"] == "A line a trial. The best 3 have alpha from 0.1 to 0.3 and lr from 2 to 4."
    assert said["contour"].endswith("from 90.00 to 92.00 %; the best trial is at alpha 0.3, lr 2.")
    assert said["importance"].endswith("alpha +1.00, lr −1.00 (n = 3 trials).")
