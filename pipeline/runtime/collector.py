"""Let Python's collector of unreachable objects run less often than it does by default.

Most of a small stage is the import of PyTorch, MLflow and pandas. They make hundreds of thousands of objects, none of
which becomes unreachable; the collector goes over them again and again, and once more when the process ends. Without
this, a stage takes one to two seconds more. No number depends on it.
"""

import atexit
import gc
import sys

THRESHOLDS = (10_000, 20, 20)  # by default (700, 10, 10), or (2000, 10, 10) in Python 3.13


def collect_rarely() -> None:
    """Collect less often from now on, and not at the end of the process, whose memory the system takes back."""
    gc.set_threshold(*THRESHOLDS)
    atexit.register(_leave_out)


def _leave_out() -> None:
    """Leave all objects out of the last collection, unless Triton is there: it calls each of its own a leak then."""
    if "triton" not in sys.modules:
        gc.freeze()
