"""What the tables and searches of a study show, in sentences; nothing is said that is not computed from them.

Accuracies are in percent, their differences in points; n is a number of seeds. What is missing is said first.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from pipeline.settings.tables import Benchmarks, Costs, Decoders, Robustness, Topologies

NOT_RUN_YET = "Not run yet: "
BATCH_NORM = " w/ BN"  # after the name of a decoder


def decoders(table: pd.DataFrame, entry: Decoders) -> list[str]:
    """Say which decoder comes out best, by how much, and what it costs; beside published losses, what is reproduced."""
    names = _names(table)
    said = missing(table)
    claims = reproduced(table, names) if table["published_rloss"].notna().any() else []
    table = _scored(table)
    if table.empty:
        return said
    names = names[table.index]
    said += [*claims, *_highest_and_lowest(table, names)]
    rloss = table["rloss_mean"]
    if rloss.notna().any():
        best = _listed(names[rloss == rloss.min()])
        said.append(f"Best reconstruction: {best}, RLoss {rloss.min():.2f} per image.")
    sizes = table.loc[table["decoder_parameters"] > 0, "decoder_parameters"].astype(int)
    if sizes.nunique() > 1:
        smallest, largest = (_listed(names[sizes.index[sizes == size]]) for size in (sizes.min(), sizes.max()))
        said.append(
            f"Smallest decoder: {smallest}, {sizes.min():,} parameters, {100 * (1 - sizes.min() / sizes.max()):.1f} % "
            f"fewer than the {sizes.max():,} of {largest}."
        )
    return [
        *said,
        *_against_published(table, names, "accuracy", "Points against the published accuracy", " %"),
        *_against_published(table, names, "rloss", "RLoss against the published one", ""),
    ]


def benchmarks(table: pd.DataFrame, entry: Benchmarks) -> list[str]:
    """Say for each data set which run comes out best, and what networks are worth together."""
    together = table["model"].str.extract(r"\(ensemble of (\d+)\)$", expand=False)
    single = _scored(table[table["run"].notna() & together.isna()])
    said = missing(table)
    for dataset, rows in single.groupby("dataset", sort=False):
        said += _highest_and_lowest(rows, rows["run"], f" on {dataset}")
    means = single.set_index("run")["accuracy_mean"]
    for place, row in table[table["accuracy_mean"].notna()].iterrows():
        name = row["run"]
        if pd.notna(together[place]):
            name = f"The {together[place]} networks of {row['run']} together"
            gain = ""
            if row["run"] in means:
                points = _signed(row["accuracy_mean"] - means[row["run"]])
                gain = f", {points} points against the mean of the single networks"
            said.append(f"{name}: {row['accuracy_mean']:.2f} %{gain}.")
        if pd.notna(row["published_accuracy"]):
            said.append(
                f"{name}: {_signed(row['difference'])} points against the published {row['published_accuracy']:.2f} % "
                f"({row['source']})."
            )
    return said


def topologies(table: pd.DataFrame, entry: Topologies) -> list[str]:
    """Say which settings move the accuracy by more than the seeds do."""
    said = missing(table)
    table = _scored(table)
    if entry.base not in set(table["run"]):
        return [*said, f"Without {entry.base} there is nothing to compare with."]
    base = table[table["run"] == entry.base].iloc[0]
    names = table["factor"] + " " + table["value"]
    others = table[table["run"] != entry.base]
    said.append(f"{entry.base}, from which each run differs in one setting, has {_percent(base)}.")
    if others.empty:
        return said
    effects = others["difference"].abs()
    largest = effects.idxmax()
    said.append(
        f"Of {len(others)} settings, {names[largest]} moves the accuracy most: "
        f"{_signed(others.loc[largest, 'difference'])} points."
    )
    spreads = others["accuracy_std"] + base["accuracy_std"]
    if spreads.notna().any():
        moved = others[effects > spreads]
        listed = _listed(f"{names[place]} ({_signed(row['difference'])})" for place, row in moved.iterrows())
        said.append(
            f"Beyond the standard deviations of both runs together: {listed or 'none of them'}"
            f"{'; none of the others' if 0 < len(moved) < len(others) else ''}."
        )
    return said


def robustness(table: pd.DataFrame, entry: Robustness) -> list[str]:
    """Say for each run how far its test images may be turned, and where it is lost, or how it does on hard ones."""
    said = missing(table)
    for run, rows in _scored(table).groupby("run", sort=False):
        if rows["degrees"].isna().all():
            own = rows.iloc[0]
            published = own["published_accuracy"]
            against = "" if pd.isna(published) else f", {_signed(own['difference'])} points against {published:.2f} %"
            said.append(f"{run}: {_percent(own)}{against}.")
            continue
        rows = rows.dropna(subset=["degrees"]).astype({"degrees": int})
        at = rows.set_index("degrees")["accuracy_mean"]
        upright, turned = at[0], at.drop(0)
        below = turned[turned < upright / 2]
        half = f"first below half of that at {below.index[0]}°" if len(below) else "nowhere below half of that"
        upside_down = f", {at[180]:.2f} % upside down" if 180 in at else ""
        said.append(
            f"{run}: {upright:.2f} % upright, {turned.iloc[0]:.2f} % at {turned.index[0]}°; {half}, least at "
            f"{at.idxmin()}° ({at.min():.2f} %){upside_down}."
        )
    return said


def costs(table: pd.DataFrame, entry: Costs) -> list[str]:
    """Say how long training took in all, and which epochs are the longest and the shortest."""
    if table.empty:
        return []
    seconds = table["seconds_an_epoch"]
    slowest, fastest = (table.loc[place] for place in (seconds.idxmax(), seconds.idxmin()))
    said = [f"In all: {table['hours'].sum():,.1f} hours for {int(table['seeds'].sum())} networks of {len(table)} runs."]
    if len(table) > 1:
        said.append(
            f"An epoch takes from {fastest['seconds_an_epoch']:,.1f} seconds ({fastest['run']}) to "
            f"{slowest['seconds_an_epoch']:,.1f} ({slowest['run']})."
        )
    return said


FINDINGS: dict[str, Callable[[pd.DataFrame, Any], list[str]]] = {
    "decoders": decoders,
    "benchmarks": benchmarks,
    "topologies": topologies,
    "robustness": robustness,
    "costs": costs,
}


def missing(table: pd.DataFrame) -> list[str]:
    """Name the runs of a table that are not scored yet."""
    scored = set(_scored(table)["run"])
    names = dict.fromkeys(run for run in table["run"].dropna() if run not in scored)
    return [f"{NOT_RUN_YET}{_listed(names)}."] if names else []


def reproduced(table: pd.DataFrame, names: "pd.Series[str]") -> list[str]:
    """Say of the claims about decoders whether they hold here: deconvolution, batch normalisation, the published order.

    A run is one side of a claim by its model; a claim of which a side is not scored is not made.
    """
    scored = _scored(table).dropna(subset=["rloss_mean"])
    of_model = {name: row for name, (_, row) in zip(scored["model"], scored.iterrows(), strict=True)}
    said = []
    for suffix in ("", BATCH_NORM):
        one, other = of_model.get(f"FC{suffix}"), of_model.get(f"DeConv{suffix}")
        if one is not None and other is not None:
            fewer = 100 * (1 - other["decoder_parameters"] / one["decoder_parameters"])
            said.append(f"{_better(other, one)}, with {fewer:.0f} % fewer parameters in the decoder.")
    for decoder in ("FC", "DeConv"):
        without, with_it = of_model.get(decoder), of_model.get(decoder + BATCH_NORM)
        if without is not None and with_it is not None:
            said.append(f"{_better(with_it, without)}.")
    both = scored.dropna(subset=["published_rloss"])
    if len(both) > 1:
        ours, theirs = (
            names[both.sort_values(key, ascending=False).index] for key in ("rloss_mean", "published_rloss")
        )
        same = list(ours) == list(theirs)
        whole = "" if len(both) == table["published_rloss"].notna().sum() else f" of these {len(both)}"
        said.append(
            f"The order of RLoss{whole} is {'the published one' if same else 'not the published one'}: from "
            f"{', '.join(ours[:-1])} down to {ours.iloc[-1]}{'' if same else '; published: ' + ', '.join(theirs)}."
        )
    return said


def _better(one: "pd.Series[Any]", other: "pd.Series[Any]") -> str:
    """Say which of two runs reconstructs better, and whether seeds of one run differ as much."""
    difference = one["rloss_mean"] - other["rloss_mean"]
    verb = "better than" if difference < 0 else "worse than" if difference > 0 else "as well as"
    seeds = _listed(dict.fromkeys(str(int(row["seeds"])) for row in (one, other)))
    spreads = one["rloss_std"] + other["rloss_std"]
    beyond = "" if pd.isna(spreads) or abs(difference) > spreads else ", which is within the spread of the seeds"
    return (
        f"{one['model']} reconstructs {verb} {other['model']}: RLoss {one['rloss_mean']:.2f} against "
        f"{other['rloss_mean']:.2f} (n = {seeds}){beyond}"
    )


def search_plots(trials: pd.DataFrame, best: int) -> list[tuple[str, str, str]]:
    """Return name, title and caption of each plot of a search, whose best trial has that number."""
    complete = trials[trials["state"] == "complete"].set_index("trial")
    accuracy, chosen = complete["val_accuracy"], complete.loc[best]
    top = complete.loc[accuracy.nlargest(3).index]
    ranks = complete[["alpha", "lr", "val_accuracy"]].rank().corr()["val_accuracy"]
    return [
        (
            "history",
            "Trial by trial",
            f"Validation accuracy of each trial, and the best so far: {accuracy.iloc[0]:.2f} % in trial "
            f"{accuracy.index[0]}, {accuracy.max():.2f} % at best, first in trial {accuracy.idxmax()}. "
            f"{len(trials) - len(complete)} of {len(trials)} trials were given up early.",
        ),
        (
            "parallel",
            "What each trial took and gave",
            f"A line a trial. The best {len(top)} have alpha from {top['alpha'].min():.3g} to {top['alpha'].max():.3g} "
            f"and lr from {top['lr'].min():.3g} to {top['lr'].max():.3g}.",
        ),
        (
            "contour",
            "Over both parameters",
            f"Validation accuracy from {accuracy.min():.2f} to {accuracy.max():.2f} %; the best trial is at alpha "
            f"{chosen['alpha']:.3g}, lr {chosen['lr']:.3g}.",
        ),
        (
            "importance",
            "What mattered",
            "How much of the variation each parameter explains. Rank correlation with the validation accuracy: alpha "
            f"{_signed(ranks['alpha'])}, lr {_signed(ranks['lr'])} (n = {len(complete)} trials).",
        ),
    ]


def _highest_and_lowest(table: pd.DataFrame, names: "pd.Series[str]", where: str = "") -> list[str]:
    """Say which mean accuracy is the highest and the lowest, and whether seeds of one run differ as much."""
    accuracy, spreads = table["accuracy_mean"], table["accuracy_std"]
    highest, lowest = accuracy.max(), accuracy.min()
    seeds = _listed(map(str, sorted(table["seeds"].astype(int).unique())))
    if highest == lowest:
        return [f"Mean accuracy{where}: {highest:.2f} %, {_listed(names)} (n = {seeds})."]
    said = [
        f"Highest mean accuracy{where}: {_listed(names[accuracy == highest])} ({highest:.2f} %); lowest: "
        f"{_listed(names[accuracy == lowest])} ({lowest:.2f} %)."
    ]
    if spreads.notna().any():
        within = highest - lowest <= spreads.max()
        said.append(
            f"They are {highest - lowest:.2f} points apart, {'within' if within else 'more than'} the standard "
            f"deviation between seeds of one run ({spreads.min():.2f} to {spreads.max():.2f} points, n = {seeds})"
            f"{': the order may be chance' if within else ''}."
        )
    return said


def _against_published(table: pd.DataFrame, names: "pd.Series[str]", key: str, words: str, unit: str) -> list[str]:
    """Say how far each value is from the one that is published for it."""
    both = table.dropna(subset=[f"{key}_mean", f"published_{key}"])
    listed = [
        f"{names[place]} {_signed(row[f'{key}_mean'] - row[f'published_{key}'])} ({row[f'published_{key}']:.2f}{unit})"
        for place, row in both.iterrows()
    ]
    return [f"{words}: {'; '.join(listed)}."] if listed else []


def _scored(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["accuracy_mean"].notna()]


def _names(table: pd.DataFrame) -> "pd.Series[str]":
    """Return what tells the rows apart for people: the model, or the run where models repeat."""
    return table["model"] if table["model"].is_unique else table["run"]


def _percent(row: "pd.Series[float]") -> str:
    spread = "" if pd.isna(row["accuracy_std"]) else f" ± {row['accuracy_std']:.2f}"
    return f"{row['accuracy_mean']:.2f}{spread} %"


def _signed(value: float) -> str:
    return "unknown" if pd.isna(value) else f"{value:+.2f}".replace("-", "−")


def _listed(words: Iterable[str]) -> str:
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last
