"""The project's own git repository, if this is one and git is here and answers."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def git(*arguments: str) -> str:
    """What git prints; "" if it is missing, or refuses, as in a folder that is no repository or belongs to another."""
    try:
        done = subprocess.run(["git", "-C", ROOT, *arguments], check=False, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def tracked() -> list[str]:
    """The names of the files that git tracks; none if it can't say."""
    return git("ls-files").splitlines() if (ROOT / ".git").exists() else []


def has_history() -> bool:
    """Whether the commits of old are here, which a shallow clone lacks."""
    return (ROOT / ".git").exists() and git("rev-parse", "--is-shallow-repository") == "false"
