"""Error messages without passwords: logins in URLs and in the environment are replaced by `***`."""

import os
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

URLS = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_BACKEND_STORE_URI",
    "CAPSNET_OPTUNA_STORAGE",
    "CAPSNET_MIRROR",
)
LOGINS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SECRET_KEYS = r"\w*(?:user|password|passwd|pwd|token|secret|key)\w*"
HIDDEN = "***"
LONGEST = 200  # characters of a message


def masked(text: str) -> str:
    """Return the text without the user names and passwords of any URL in it, or of those in the environment."""
    text = re.sub(r"://(?!/)[^\s'\"]*@", f"://{HIDDEN}@", text)
    text = re.sub(rf"([?&]{SECRET_KEYS}=)[^&\s'\"]*", rf"\1{HIDDEN}", text, flags=re.IGNORECASE)
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, text)
    return text


def masked_urls(value: object) -> str:
    """Return a value as text, masked if there is a URL in it. Without one it is a name, which may be that of a user."""
    text = str(value)
    return masked(text) if "://" in text else text


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, masked and shortened; the error's class if it has no message."""
    lines = str(error).strip().splitlines()
    return masked(lines[0])[:LONGEST] if lines else type(error).__name__


def _secrets() -> Iterator[str]:
    """Yield the user names and passwords in the environment, both as written in a URL and decoded."""
    found = [os.environ.get(name, "") for name in LOGINS]
    for url in (os.environ.get(name, "") for name in URLS):
        if login := re.search(r"://(?!/)(\S*)@", url):
            found += login[1].partition(":")[::2]
        pairs = parse_qsl(url.partition("?")[2])
        found += [value for key, value in pairs if re.fullmatch(SECRET_KEYS, key, re.IGNORECASE)]
    yield from (text for secret in found for text in (secret, unquote(secret)) if text)
