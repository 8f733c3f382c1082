"""Capsule networks in PyTorch: with dynamic routing (Sabour, Frosst, Hinton 2017) and with self-attention routing.

The public names below are imported on first use, so that a module that needs no torch (reading data, `--help`) does
not wait for it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsnet.networks.attention import AttentionConfig
    from capsnet.networks.capsnet import CapsNet, Output
    from capsnet.networks.dynamic import ModelConfig
    from capsnet.networks.losses import margin_loss, reconstruction_loss
    from capsnet.networks.routing import Routing, dynamic_routing, exponential_squash, self_attention_routing, squash
    from capsnet.networks.saved import load

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
    "AttentionConfig": "networks.attention",
    "CapsNet": "networks.capsnet",
    "ModelConfig": "networks.dynamic",
    "Output": "networks.capsnet",
    "Routing": "networks.routing",
    "dynamic_routing": "networks.routing",
    "exponential_squash": "networks.routing",
    "load": "networks.saved",
    "margin_loss": "networks.losses",
    "reconstruction_loss": "networks.losses",
    "self_attention_routing": "networks.routing",
    "squash": "networks.routing",
}


if not TYPE_CHECKING:  # a type checker would believe that every name exists

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'capsnet' has no attribute {name!r}")
        return getattr(importlib.import_module(f"capsnet.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
