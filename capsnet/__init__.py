"""Capsule networks with dynamic routing (Sabour, Frosst, Hinton 2017) in PyTorch.

The public names below are imported on first use, so that a module that needs no torch (reading data, `--help`) does
not wait for it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsnet.checkpoint import load
    from capsnet.losses import margin_loss, reconstruction_loss
    from capsnet.model import CapsNet, ModelConfig, Output
    from capsnet.routing import Routing, dynamic_routing, squash

__all__ = [
    "CapsNet",
    "ModelConfig",
    "Output",
    "Routing",
    "dynamic_routing",
    "load",
    "margin_loss",
    "reconstruction_loss",
    "squash",
]

_HOMES = {
    "CapsNet": "model",
    "ModelConfig": "model",
    "Output": "model",
    "Routing": "routing",
    "dynamic_routing": "routing",
    "load": "checkpoint",
    "margin_loss": "losses",
    "reconstruction_loss": "losses",
    "squash": "routing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'capsnet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"capsnet.{_HOMES[name]}"), name)
