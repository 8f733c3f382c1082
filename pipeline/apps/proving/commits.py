"""Commits: which one has the files that dvc.lock names, and its files in a folder for a while."""

import hashlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.apps.proving.locked import CODE, LOCK, Locked, folder_md5


def history() -> list[str]:
    """Return the commits that led here, newest first."""
    return _git("rev-list", "HEAD").decode().split()


def commit_of(named: str) -> str:
    """Return the full name of a commit. Raises ValueError if there is none of this name."""
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{named}^{{commit}}").decode().strip()
    except ValueError as error:
        raise ValueError(f"--since: got {named!r}, expected a commit of this repository") from error


def differing(commits: Sequence[str], code: Mapping[str, str]) -> dict[str, list[str]]:
    """Return for each commit the files and folders that do not have these MD5s in it."""
    listings = {commit: _listing(commit) for commit in commits}
    sums = _md5s([*dict.fromkeys(blob for listing in listings.values() for blob in listing.values())])
    files = {
        commit: {path: sums[blob] for path, blob in listing.items() if blob in sums}
        for commit, listing in listings.items()
    }
    return {
        commit: [path for path, expected in code.items() if _md5_of(path, files[commit]) != expected]
        for commit in commits
    }


def _listing(commit: str) -> dict[str, str]:
    """Return the object of each file of code in a commit, by its path in this project."""
    said = _git("ls-tree", "-r", "-z", commit, "--", *(f"./{folder}" for folder in CODE)).decode()
    entries = [entry.partition("\t") for entry in said.split("\0") if entry]
    return {path: facts.split()[2] for facts, _, path in entries}


def _md5_of(path: str, files: Mapping[str, str]) -> str | None:
    """Return the MD5 of a file, or of a folder as DVC writes it; None for what is not there."""
    within = {name.removeprefix(f"{path}/"): value for name, value in files.items() if name.startswith(f"{path}/")}
    return folder_md5(within) if within else files.get(path)


def commits_of(stages: Sequence[Locked], since: str | None) -> list[str]:
    """Return the commit with the code of each stage, one for all where there is one.

    Raises ValueError with what comes nearest if there is none.
    """
    found: list[list[str]] = []
    for each in stages:
        candidates = [] if since is None else [since]
        if since is None or found:  # what the user named is where the run was trained; it may be scored later
            candidates += history()
        others = differing(candidates, each.code)
        found.append([commit for commit in candidates if not others[commit]])
        if not found[-1]:
            nearest = min(candidates, key=lambda commit: len(others[commit]))
            names = ", ".join(others[nearest])
            raise ValueError(f"{each.stage}: commit {nearest[:7]}: {names}: got other code, expected what {LOCK} names")
    common = [commit for commit in found[0] if all(commit in commits for commits in found)]
    return [common[0]] * len(found) if common else [commits[0] for commits in found]


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """Yield this project as it was at a commit, in a worktree at `folder` that is removed in any case."""
    here = _git("rev-parse", "--show-prefix").decode().strip()
    try:
        _git("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(folder), commit)
        yield folder / here
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], capture_output=True, check=False)


def _md5s(blobs: Sequence[str]) -> dict[str, str]:
    content = _git("cat-file", "--batch", lines=blobs)
    sums = {}
    while content:
        header, _, content = content.partition(b"\n")
        name, _, size = header.decode().split()
        sums[name] = hashlib.md5(content[: int(size)], usedforsecurity=False).hexdigest()
        content = content[int(size) + 1 :]  # a line end follows
    return sums


def _git(*arguments: str, lines: Sequence[str] = ()) -> bytes:
    text = "".join(f"{line}\n" for line in lines).encode()
    ended = subprocess.run(["git", *arguments], input=text, capture_output=True, check=False)
    if ended.returncode:
        raise ValueError(f"git: {' '.join(ended.stderr.decode().split())}")
    return ended.stdout
