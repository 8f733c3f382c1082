"""What the tables of a study show, in sentences that are computed from them.

Accuracies are in percent, their differences in points; n is a number of seeds. Missing runs come first.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from pipeline.reporting.findings import benchmarks, costs, decoders, robustness, topologies
from pipeline.reporting.findings.shared import NOT_RUN_YET

__all__ = ["FINDINGS", "HEADLINES", "NOT_RUN_YET"]

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
