"""The settings that name an entry of one of the library's dicts, and those dicts."""

from collections.abc import Mapping
from typing import Any

from capsnet.attention import NORMS
from capsnet.data.augment import BRIGHTNESS_CHANGES
from capsnet.decoders import DECODERS
from capsnet.dynamic import INITIALISATIONS
from capsnet.layers import PADDINGS
from capsnet.losses import RECONSTRUCTION_LOSSES
from capsnet.tasks import TASKS
from capsnet.trainer import PRECISIONS
from capsnet.training import ALPHA_SCHEDULES, LR_SCHEDULES

CHOICES: Mapping[str, Mapping[str, Any]] = {
    "task": TASKS,
    "decoder": DECODERS,
    "alpha_schedule": ALPHA_SCHEDULES,
    "reconstruction": RECONSTRUCTION_LOSSES,
    "precision": PRECISIONS,
    "padding": PADDINGS,
    "initialisation": INITIALISATIONS,
    "brightness_change": BRIGHTNESS_CHANGES,
    "lr_schedule": LR_SCHEDULES,
    "encoder_norm": NORMS,
}
