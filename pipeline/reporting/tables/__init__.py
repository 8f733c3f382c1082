"""The tables of a study, a file for each kind, from the scores of `evaluate`: written as CSV, Markdown and LaTeX.

Published values stand beside ours. Accuracies are in percent, differences of accuracies in points, and ± is the sample
standard deviation over the seeds. A run that is not scored yet has the words "not run", no seeds, and what is published
about it.
"""

from pipeline.reporting.tables.build import BUILDERS, build, write
from pipeline.reporting.tables.table import Table

__all__ = ["BUILDERS", "Table", "build", "write"]
