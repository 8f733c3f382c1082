"""Commits: those with exactly the code that dvc.lock names, and a commit's files in a temporary folder."""

import hashlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.apps.proving.lock_file import CODE, LOCK, LockedStage
from pipeline.runtime.unrecorded import md5_of_listing


def ancestors() -> list[str]:
    """Return the commits up to the current one, newest first."""
    return _git("rev-list", "HEAD").decode().split()


def commit_of(named: str) -> str:
    """Return the full name of a commit. Raises ValueError if there is no commit of this name."""
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{named}^{{commit}}").decode().strip()
    except ValueError as error:
        raise ValueError(f"--since: got {named!r}, expected a commit of this repository") from error


def differing_code(commits: Sequence[str], code: Mapping[str, str]) -> dict[str, list[str]]:
    """Return for each commit the files and folders whose MD5 in it is not the one in `code`."""
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
    """Return git's name for the content of each file of code in a commit, by its path in this project."""
    said = _git("ls-tree", "-r", "-z", commit, "--", *(f"./{folder}" for folder in CODE)).decode()
    entries = [entry.partition("\t") for entry in said.split("\0") if entry]
    return {path: facts.split()[2] for facts, _, path in entries}


def _md5_of(path: str, files: Mapping[str, str]) -> str | None:
    """Return the MD5 of a file, or of a folder as DVC writes it; None if there is neither."""
    within = {name.removeprefix(f"{path}/"): value for name, value in files.items() if name.startswith(f"{path}/")}
    return md5_of_listing(within) if within else files.get(path)


def commits_of(stages: Sequence[LockedStage], since: str | None) -> list[str]:
    """Return the newest commit with the code of each stage: one commit for all stages if there is such a commit.

    Raises ValueError naming the nearest commit, and what differs in it, if no commit has the code.
    """
    found: list[list[str]] = []
    for each in stages:
        candidates = [] if since is None else [since]
        if since is None or found:  # the user named the commit of the training; the scores may be of a later one
            candidates += ancestors()
        others = differing_code(candidates, each.code)
        found.append([commit for commit in candidates if not others[commit]])
        if not found[-1]:
            nearest = min(candidates, key=lambda commit: len(others[commit]))
            names = ", ".join(others[nearest])
            raise ValueError(f"{each.stage}: commit {nearest[:7]}: {names}: got other code, expected what {LOCK} names")
    common = [commit for commit in found[0] if all(commit in commits for commits in found)]
    return [common[0]] * len(found) if common else [commits[0] for commits in found]


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """Yield the folder of this project as of a commit, in a git worktree that is removed in any case."""
    here = _git("rev-parse", "--show-prefix").decode().strip()
    try:
        _git("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", str(folder), commit)
        yield folder / here
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(folder)], capture_output=True, check=False)


def _md5s(blobs: Sequence[str]) -> dict[str, str]:
    """Return the MD5 of each content, by git's name for it."""
    content = _git("cat-file", "--batch", lines=blobs)
    sums = {}
    while content:
        header, _, content = content.partition(b"\n")
        name, _, size = header.decode().split()
        sums[name] = hashlib.md5(content[: int(size)], usedforsecurity=False).hexdigest()
        content = content[int(size) + 1 :]  # a line end follows the content
    return sums


def _git(*arguments: str, lines: Sequence[str] = ()) -> bytes:
    text = "".join(f"{line}\n" for line in lines).encode()
    ended = subprocess.run(["git", *arguments], input=text, capture_output=True, check=False)
    if ended.returncode:
        raise ValueError(f"git: {' '.join(ended.stderr.decode().split())}")
    return ended.stdout
