"""What the experiment's pages in MLflow show at first: its kind, a description, and four views with links to them.

A view is a state of the page of runs that MLflow keeps in a tag of the experiment, as its button "Share" does: columns,
filter, order and charts. A link opens it.
"""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

KIND = {"mlflow.experimentKind": "custom_model_development"}  # the pages for training, not those for agents
NOTE = "mlflow.note.content"
TAG = "mlflow.sharedViewState."
PAIR = ("params.`alpha`", "params.`lr`")
BEGINNING = "Capsule networks"  # of the description; one that a person wrote stays
SCORES = ("test_accuracy", "test_rloss", "test_mloss")
VIEWS = {
    "runs": "each run by name, with its scores on the test images",
    "curves": "loss and accuracy over the epochs, mean over the seeds",
    "seeds": "the same for each seed",
    "search": "trials of searches: alpha and lr against the accuracy on held-out images",
}
PARENTS = "tags.kind = 'run' and tags.stage = 'train'"


def describe_experiment(client: "MlflowClient", experiment: "Experiment") -> None:
    """Give an experiment its kind, its description and its views, unless it has them."""
    identity = str(experiment.experiment_id)
    wanted = KIND | {TAG + name: json.dumps(state) for name, state in views().items()}
    note = experiment.tags.get(NOTE, "")
    if not note or note.startswith(BEGINNING):
        wanted[NOTE] = description(identity)
    for key, value in wanted.items():
        if experiment.tags.get(key) != value:
            client.set_experiment_tag(identity, key, value)


def description(experiment: str) -> str:
    """Return the description of an experiment, in Markdown."""
    lines = [f"- [{name}]({page(experiment, name)}): {what}" for name, what in VIEWS.items()]
    return f"{BEGINNING}: runs of params.yaml.\n\n" + "\n".join(lines) + "\n"


def page(experiment: str, view: str) -> str:
    """Return the address of a view, within MLflow's own address."""
    mode = "TABLE" if view == "runs" else "CHART"
    more = f"viewStateShareKey={view}&workflowType=machine_learning&compareRunsMode={mode}"
    return f"#/experiments/{experiment}/runs?{more}"


def views() -> dict[str, dict[str, Any]]:
    """Return the states of the page of runs, by name."""
    curves = [_curves(name) for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")]
    scores = [_bars(name) for name in SCORES]
    of_runs = ["params.`decoder`", "params.`precision`", "params.`epochs`"]
    return {
        "runs": {
            **_state(PARENTS, "metrics.`test_accuracy`", *_metrics(*SCORES), "params.`seeds`", *of_runs),
            **_charts(*scores, *curves),
        },
        "curves": {
            **_state(PARENTS, "metrics.`test_accuracy`", *_metrics(*SCORES), "params.`seeds`", *of_runs),
            **_charts(*curves, *scores),
        },
        "seeds": {
            **_state("tags.kind = 'seed'", "metrics.`test_accuracy`", *_metrics(*SCORES), "params.`seed`", *of_runs),
            **_charts(*curves, *scores),
        },
        "search": {
            **_state("tags.kind = 'trial'", "metrics.`val_accuracy`", *_metrics("val_accuracy", "val_rloss"), *PAIR),
            **_charts(_parallel(), _scatter("lr"), _scatter("alpha"), _contour()),
        },
    }


def _metrics(*names: str) -> list[str]:
    return [f"metrics.`{name}`" for name in names]


def _state(search: str, order: str, *columns: str) -> dict[str, Any]:
    return {
        "searchFilter": search,
        "orderByKey": order,
        "orderByAsc": False,
        "selectedColumns": [*columns],
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
    }


def _charts(*charts: dict[str, Any]) -> dict[str, Any]:
    section = {"uuid": "study", "name": "Study", "display": True, "isReordered": False, "deleted": False}
    placed = [{**chart, "uuid": f"study-{number}"} for number, chart in enumerate(charts)]
    return {"compareRunCharts": placed, "compareRunSections": [{**section, "isGenerated": False}]}


def _chart(kind: str, **values: Any) -> dict[str, Any]:
    return {"type": kind, "deleted": False, "isGenerated": False, "metricSectionId": "study", **values}


def _curves(metric: str) -> dict[str, Any]:
    return _chart(
        "LINE",
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        xAxisScaleType="linear",
        scaleType="linear",
        lineSmoothness=0,
        selectedXAxisMetricKey="",
        yAxisKey="metric",
        yAxisExpressions=[],
        useGlobalLineSmoothing=True,
        useGlobalXaxisKey=True,
        range={},
    )


def _bars(metric: str) -> dict[str, Any]:
    return _chart("BAR", metricKey=metric, runsCountToCompare=20)


def _parallel() -> dict[str, Any]:
    return _chart("PARALLEL", selectedParams=["alpha", "lr"], selectedMetrics=["val_accuracy"], showAllRuns=True)


def _scatter(param: str) -> dict[str, Any]:
    return _chart(
        "SCATTER",
        xaxis={"key": param, "type": "PARAM"},
        yaxis={"key": "val_accuracy", "type": "METRIC"},
        runsCountToCompare=100,
    )


def _contour() -> dict[str, Any]:
    return _chart(
        "CONTOUR",
        xaxis={"key": "alpha", "type": "PARAM"},
        yaxis={"key": "lr", "type": "PARAM"},
        zaxis={"key": "val_accuracy", "type": "METRIC"},
        runsCountToCompare=100,
    )
