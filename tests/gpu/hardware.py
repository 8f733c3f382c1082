"""The machine that is measured: its versions, and the two rates that everything else is compared with."""

import os
import platform
import shutil
import subprocess

import torch

from tests.gpu.gpu_table import tell
from tests.gpu.measured_runs import Settings, seconds


def environment(settings: Settings, device: torch.device) -> None:
    """Tell what computes, and the two rates that everything else is compared with."""
    tell("card", "", None, note=torch.cuda.get_device_name() if device.type == "cuda" else "CPU, in place of a GPU")
    tell("driver", "", None, note=_driver() if device.type == "cuda" else "none")
    tell("torch", "", None, note=torch.__version__)
    tell("cuda", "", None, note=torch.version.cuda or "none")
    tell("cudnn", "", None, note=str(torch.backends.cudnn.version()))
    try:
        import triton

        tell("triton", "", None, note=triton.__version__)
    except ImportError:
        tell("triton", "", None, note="none")
    tell("python", "", None, note=platform.python_version())
    tell("commit", "", None, note=_commit())
    for name, rate in rates(settings, device).items():
        tell(name, "TFLOP/s" if "product" in name else "TB/s", rate)


def rates(settings: Settings, device: torch.device) -> dict[str, float]:
    """Measure large matrix products and a large copy: TFLOP/s and TB/s, read and written bytes both counted."""
    side, numbers = (256, 2**20) if settings["small"] else (8192, 2**30)
    found = {}
    for name, dtype, allowed in (
        ("product, float32", torch.float32, False),
        ("product, tf32", torch.float32, True),
        ("product, bfloat16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = allowed
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        found[name] = 2 * side**3 / seconds(lambda a=left, b=right: torch.mm(a, b), device) / 1e12  # type: ignore[misc]
    torch.backends.cuda.matmul.allow_tf32 = False
    source = torch.randn(numbers, device=device)
    target = torch.empty_like(source)
    found["copy"] = 8 * numbers / seconds(lambda: target.copy_(source), device) / 1e12
    return found


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _commit() -> str:
    """Return the commit that is measured; where the code lies without git, what CAPSNET_COMMIT says."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.stdout.strip() or os.environ.get("CAPSNET_COMMIT", "unknown")
