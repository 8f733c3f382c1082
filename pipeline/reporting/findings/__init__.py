"""What the tables of a study show, in sentences computed from them. Each kind of table has a file.

Accuracies are in percent, their differences in points; n is a number of seeds. Missing runs come first.
"""

from pipeline.reporting.findings.kinds import FINDINGS, HEADLINES
from pipeline.reporting.findings.shared import NOT_RUN_YET

__all__ = ["FINDINGS", "HEADLINES", "NOT_RUN_YET"]
