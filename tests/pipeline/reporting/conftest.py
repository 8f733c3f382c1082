"""The tiny project with metrics made by hand, for tests of its tables."""

from pathlib import Path

import pytest
from made_study import PAIRS, write_metrics, write_rotations


@pytest.fixture
def scored(project: Path) -> Path:
    """The tiny project with metrics made by hand in place of trained runs."""
    write_metrics("toy-fc", [97.0, 99.0], ensemble=99.25)
    write_metrics("toy-fc_bn", [98.0, 99.0], batch_norm=True)
    write_metrics("toy-deconv", [96.0, 97.0], decoder="deconv")
    write_metrics("toy-deconv_bn", [99.0, 99.5], decoder="deconv", batch_norm=True)
    write_metrics("toy-tuned", [97.0, 97.0])
    write_metrics("toy-pairs", [70.0, 74.0], pairs=PAIRS, task="separate")
    write_rotations("toy-fc", {0: (97.0, 99.0), 90: (20.0, 10.0), 180: (40.0, 50.0), 270: (15.0, 15.0)})
    return project
