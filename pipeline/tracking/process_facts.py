"""What a run's tags say about the process: where its code comes from, and how much memory it took."""

import getpass
import hashlib
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path


def provenance() -> dict[str, str]:
    """Return the commit, whether files differ from it, dvc.lock, the stage and experiment of DVC, and versions."""
    import mlflow
    import torch

    lock = Path("dvc.lock")
    facts = {
        "mlflow.user": _user(),
        "mlflow.source.name": " ".join(sys.argv),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": _git("rev-parse", "HEAD"),
        "mlflow.source.git.branch": _git("branch", "--show-current"),
        "git.dirty": str(bool(_git("status", "--porcelain", "--untracked-files=no"))).lower(),
        "dvc.lock": hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if lock.exists() else "",
        "dvc.stage": os.environ.get("DVC_STAGE", ""),
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "version.python": platform.python_version(),
        "version.torch": torch.__version__,
        "version.mlflow": mlflow.__version__,
    }
    return {key: value for key, value in facts.items() if value}


def peak_memory() -> dict[str, float]:
    """Return the most memory that this process has held, in MB: its own, and on a GPU what torch had allocated."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    measured = {"peak_memory_mb": kilobytes / 1024}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        measured["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return measured


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the list of users, in a container for example
        return ""


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or a copy without a repository
        return ""
