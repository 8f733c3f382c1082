"""The functions that find what a table shows, by the kind of the table."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from pipeline.reporting.findings import benchmarks, costs, decoders, robustness, topologies

# All findings of a table, by its kind.
FINDINGS: dict[str, Callable[[pd.DataFrame, Any], list[str]]] = {
    "decoders": decoders.decoders,
    "benchmarks": benchmarks.benchmarks,
    "topologies": topologies.topologies,
    "robustness": robustness.robustness,
    "costs": costs.costs,
}
# The finding of a table in one sentence, in the order of the first screen; a table without one gives an empty string.
HEADLINES: dict[str, Callable[[pd.DataFrame, Any], str]] = {
    "benchmarks": benchmarks.headline,
    "decoders": decoders.headline,
    "robustness": robustness.headline,
    "topologies": topologies.headline,
}
