"""Capsule networks in PyTorch, with dynamic routing (Sabour, Frosst, Hinton 2017) or self-attention routing.

The public names are imported when they are first used, so that `import capsnet` does not wait for torch.

In the files of the library, imports stand at the top. Late, in the function that needs them, are only: torch in
`capsnet.sources`, where most files are read without it; torch's parts for several processes; and what an installation
may lack, which is Triton and ONNX Runtime.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from capsnet.networks.attention import AttentionConfig
    from capsnet.networks.capsnet import CapsNet, Output
    from capsnet.networks.dynamic import ModelConfig
    from capsnet.networks.losses import margin_loss, reconstruction_loss
    from capsnet.networks.routing import Routing, dynamic_routing, self_attention_routing
    from capsnet.networks.saved import load
    from capsnet.networks.squash import exponential_squash, squash

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

_MODULES = {
    "AttentionConfig": "networks.attention",
    "CapsNet": "networks.capsnet",
    "ModelConfig": "networks.dynamic",
    "Output": "networks.capsnet",
    "Routing": "networks.routing",
    "dynamic_routing": "networks.routing",
    "exponential_squash": "networks.squash",
    "load": "networks.saved",
    "margin_loss": "networks.losses",
    "reconstruction_loss": "networks.losses",
    "self_attention_routing": "networks.routing",
    "squash": "networks.squash",
}


if not TYPE_CHECKING:  # a type checker would believe that every name exists

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'capsnet' has no attribute {name!r}")
        return getattr(importlib.import_module(f"capsnet.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
