"""The settings of an augmentation that changes nothing."""

from typing import Any

NOTHING: dict[str, Any] = {
    "max_shift": 0,
    "flip": False,
    "rotation": 0.0,
    "rotation_share": 1.0,
    "squeeze": 0.0,
    "scale": 0.0,
    "erase": 0,
    "brightness": 0.0,
    "brightness_change": "add",
    "contrast": (1.0, 1.0),
    "clip_pixels": True,
}
