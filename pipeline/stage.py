"""What every stage does at its edge: one line for a mistake of the user's, the device, the seeds of chance taken out."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

DEBUG = "CAPSNET_DEBUG"


def run_stage(main: Callable[[], None]) -> None:
    """Call a stage's `main`; what a user can cause ends it with a line on standard error and status 2.

    With CAPSNET_DEBUG set the traceback is shown instead.
    """
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from the last checkpoint")
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get(DEBUG):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def parser(doc: str | None, *positional: tuple[str, str]) -> argparse.ArgumentParser:
    """Return a parser that explains itself with the stage's docstring and takes the named positional arguments."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, meaning in positional:
        made.add_argument(name.lower(), metavar=name, help=meaning)
    return made


def name_argument(doc: str | None, name: str, meaning: str, argv: Sequence[str] | None) -> str:
    """Parse the one argument of a stage that takes nothing but a name."""
    return str(getattr(parser(doc, (name, meaning)).parse_args(argv), name.lower()))


class Hardware(NamedTuple):
    """The device that computes, and the words for it under a table."""

    device: "torch.device"
    words: str


def configure_torch(device: str, threads: int) -> Hardware:
    """Choose the device and make this process deterministic; call it before the first tensor is made.

    Raises ValueError if `device` is "cuda" and there is none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: got 'cuda', but torch sees no CUDA device; expected 'cpu' or 'auto' here")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if device != "cpu" and torch.cuda.is_available():
        return Hardware(torch.device("cuda"), torch.cuda.get_device_name())
    return Hardware(torch.device("cpu"), f"{_processor()}, {threads} threads")


def versions(hardware: Hardware) -> dict[str, str]:
    """Return what a reader needs to know about where numbers come from: hardware, Python, torch, CUDA."""
    import torch

    facts = {"hardware": hardware.words, "python": platform.python_version(), "torch": torch.__version__}
    return facts | ({"cuda": torch.version.cuda or ""} if hardware.device.type == "cuda" else {})


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        models = []
    return models[0] if models else "CPU"
