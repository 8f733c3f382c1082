"""Capsule networks in PyTorch: with dynamic routing (Sabour, Frosst, Hinton 2017) and with self-attention routing.

The public names below are imported on first use, so that a module that needs no torch (reading data, `--help`) does
not wait for it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsnet.attention import AttentionConfig
    from capsnet.checkpoint import load
    from capsnet.dynamic import ModelConfig
    from capsnet.losses import margin_loss, reconstruction_loss
    from capsnet.model import CapsNet, Output
    from capsnet.routing import Routing, dynamic_routing, exponential_squash, self_attention_routing, squash

__all__ = [
    "AttentionConfig",
    "CapsNet",
    "ModelConfig",
    "Output",
    "Routing",
    "dynamic_routing",
    "exponential_squash",
    "load",
    "margin_loss",
    "reconstruction_loss",
    "self_attention_routing",
    "squash",
]

_HOMES = {
    "AttentionConfig": "attention",
    "CapsNet": "model",
    "ModelConfig": "dynamic",
    "Output": "model",
    "Routing": "routing",
    "dynamic_routing": "routing",
    "exponential_squash": "routing",
    "load": "checkpoint",
    "margin_loss": "losses",
    "reconstruction_loss": "losses",
    "self_attention_routing": "routing",
    "squash": "routing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'capsnet' has no attribute {name!r}")
    return getattr(importlib.import_module(f"capsnet.{_HOMES[name]}"), name)
