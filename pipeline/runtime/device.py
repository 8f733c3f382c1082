"""The device that computes, and the settings with which torch always computes the same result."""

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

X86 = ("x86_64", "AMD64", "i686")


class Hardware(NamedTuple):
    """The device that computes, and its name and threads in words."""

    device: "torch.device"
    words: str


def configure_torch(device: str, threads: int) -> Hardware:
    """Choose the device and make this process deterministic. Call it before the first tensor is created.

    Args:
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        threads: The threads of the CPU, shared by the processes of this machine that train together; on GPUs each
            process takes one GPU.

    Raises ValueError for "cuda" without a GPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else each step of Adam opens an unused context on the GPU
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: got 'cuda', but torch sees no CUDA device; expected 'cpu' or 'auto' here")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, threads // here))
    # The same as use_deterministic_algorithms(True), which would also import torch's compiler: a second for each stage.
    torch.set_deterministic_debug_mode("error")
    # Otherwise torch first fills every new tensor, in case that it is read before it is written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if device != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        return Hardware(torch.device("cuda"), torch.cuda.get_device_name())
    return Hardware(torch.device("cpu"), f"{_processor()}, {threads} threads")


def precision_here(name: str, asked: str, hardware: Hardware, *, say: bool = True) -> str:
    """Return the precision that a run is trained in on this hardware.

    With `say`, print it if it is not the precision that the settings of the run ask for.
    """
    precision = computed_precision(asked, hardware.device)
    if say and precision != asked:
        print(f"{name}: trains in {precision}: this hardware does not compute {asked} ({hardware.words})")
    return precision


def about_precision(asked: str, trained: str) -> dict[str, str]:
    """Return the precision that a run was trained in and, if it is another, the one that was asked for."""
    return {"precision": trained, **({"instead_of": asked} if asked != trained else {})}


def computed_precision(asked: str, device: "torch.device") -> str:
    """Return the precision that was asked for if the device computes in it, else float32.

    Otherwise it would be emulated; emulated bfloat16 takes 16 to 25 times as long as float32.
    """
    import torch

    if device.type == "cuda":
        ampere = torch.cuda.get_device_capability(device) >= (8, 0)  # the first generation with either
        return asked if ampere else "float32"
    return asked if asked == "bfloat16" and _has_bfloat16() else "float32"


def _has_bfloat16() -> bool:
    """Tell whether the processor multiplies bfloat16, and torch's library uses that (see its ONEDNN_MAX_CPU_ISA)."""
    import torch

    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return False
    # On x86 that library also says yes to AVX512 without bfloat16.
    return platform.machine() not in X86 or bool(torch.cpu._is_avx512_bf16_supported())


def versions(hardware: Hardware) -> dict[str, str]:
    """Return the hardware and the versions that a number depends on: Python, torch, CUDA."""
    import torch

    facts = {"hardware": hardware.words, "python": platform.python_version(), "torch": torch.__version__}
    return facts | ({"cuda": torch.version.cuda or ""} if hardware.device.type == "cuda" else {})


def _processor() -> str:
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "CPU"
    return next((line.partition(":")[2].strip() for line in facts if line.startswith("model name")), "CPU")
