"""The settings that name an entry of one of the library's dicts, and those dicts."""

from collections.abc import Mapping
from typing import Any

from capsnet.data.augmentation import BRIGHTNESS_CHANGES
from capsnet.networks.attention import NORMS
from capsnet.networks.decoders import DECODERS
from capsnet.networks.dynamic import INITIALISATIONS
from capsnet.networks.layers import PADDINGS
from capsnet.networks.losses import RECONSTRUCTION_LOSSES
from capsnet.training.schedules import ALPHA_SCHEDULES, LR_SCHEDULES
from capsnet.training.step import PRECISIONS
from capsnet.training.tasks import TASKS

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
