"""MLflow's system metrics: processor, memory, disk, network and GPU while a run is recorded.

MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=true switches them on, as for any program that records with MLflow.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.runtime.masking import first_line
from pipeline.tracking.recorder import MlflowRecorder
from pipeline.tracking.store import store_uri

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"


@contextmanager
def system_metrics(recorder: MlflowRecorder) -> Iterator[None]:
    """Record system metrics in a run for the length of the block, if the user wants them and the store has the run."""
    if os.environ.get(SWITCH, "").lower() not in ("1", "true") or not recorder.id:
        yield
        return
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        # A resumed run has some already.
        monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            recorder.id, resume_logging=True, tracking_uri=store_uri()
        )
        monitor.start()  # type: ignore[no-untyped-call]
    except Exception as error:  # psutil is missing, or cannot read what it needs
        print(f"warning: {SWITCH}: {first_line(error)}; there are no system metrics", file=sys.stderr)
        yield
        return
    try:
        yield
    finally:
        monitor.finish()  # type: ignore[no-untyped-call]
