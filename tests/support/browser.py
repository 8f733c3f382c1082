"""Headless Chromium for tests of pages, spoken to in the DevTools protocol over a pair of pipes: no port, no library.

with browser() as chromium:
    page = chromium.open(path.as_uri(), width=360, dark=True)
    assert page.errors == []
    page.evaluate("document.title")
"""

import base64
import fcntl
import json
import os
import select
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SECONDS = 60  # within which the browser answers; generous, for machines with other things to do
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = "no chromium, chromium-browser or google-chrome on the PATH"
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",  # it reads commands from descriptor 3 and answers on 4
    "--no-sandbox",  # containers have no user namespaces
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
)


class BrowserPage:
    """A page in a window of its own: what it complained about and asked for, and a way to ask it."""

    def __init__(self, browser: "Browser", session: str) -> None:
        self.browser = browser
        self.session = session
        self.errors: list[str] = []  # exceptions, console.error and what the browser itself has to say
        self.requests: list[str] = []  # addresses, data URLs left out: they are in the page

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol on this page."""
        return self.browser.send(method, session=self.session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited. Raises AssertionError for an exception in it."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press and release a key, Enter 13 or Tab 9, on what has the focus."""
        text = {"text": "\r"} if key == "Enter" else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def drag(self, points: Sequence[tuple[float, float]]) -> None:
        """Press the mouse at the first point of the window, move it over the others, and release it at the last."""
        mouse = {"button": "left", "clickCount": 1}
        for kind, (x, y), buttons in [
            ("mousePressed", points[0], 1),
            *(("mouseMoved", point, 1) for point in points),
            ("mouseReleased", points[-1], 0),
        ]:
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=buttons, **mouse)

    def stroke(self, points: Sequence[tuple[float, float]]) -> None:
        """Put a finger on the first point of the window, move it over the others, and lift it."""
        for kind, point in [("touchStart", points[0]), *(("touchMove", point) for point in points[1:])]:
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": point[0], "y": point[1]}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def wait_for(self, expression: str) -> None:
        """Wait until a JavaScript expression holds. Raises TimeoutError if it never does."""
        give_up = time.monotonic() + SECONDS
        while not self.evaluate(expression):
            if time.monotonic() > give_up:
                raise TimeoutError(f"not so within {SECONDS} s: {expression}")
            time.sleep(0.05)

    def load(self, url: str) -> None:
        """Load an address, and wait until it has loaded."""
        self.send("Page.navigate", url=url)
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the address of the page from the beginning: after a step within the page, too."""
        address = self.evaluate("location.href")
        self.send("Page.navigate", url="about:blank")
        self.load(address)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write what is in the window, or the whole page, as PNG."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(answer["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def hear(self, method: str, said: dict[str, Any]) -> None:
        """Keep what an event says about errors and requests."""
        if method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(each.get("value", each)) for each in said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not said["request"]["url"].startswith("data:"):
            self.requests.append(said["request"]["url"])


class Browser:
    """A running Chromium, and one end of each of its pipes."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands, self.answers = commands, answers
        self.waiting = b""
        self.number = 0
        self.pages: dict[str, BrowserPage] = {}

    def open(self, url: str, *, width: int, height: int = 800, dark: bool = False) -> BrowserPage:
        """Open an address in a window of that size and colour scheme, and wait until it has loaded."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = BrowserPage(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.send("Emulation.setEmulatedMedia", features=[scheme])
        page.load(url)
        return page

    def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its answer. Raises AssertionError if the browser refuses it."""
        self.number += 1
        call = {"id": self.number, "method": method, "params": parameters}
        os.write(self.commands, json.dumps(call | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            message = self._receive()
            if message.get("id") == self.number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            if message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].hear(message["method"], message["params"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self.waiting:
            if not select.select([self.answers], [], [], SECONDS)[0]:
                raise TimeoutError(f"chromium said nothing for {SECONDS} s")
            read = os.read(self.answers, 1 << 20)
            if not read:
                raise EOFError("chromium has ended")
            self.waiting += read
        message, self.waiting = self.waiting.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium with a profile of its own, and end it with the block."""
    assert CHROMIUM, NO_CHROMIUM
    theirs, commands = _high(*os.pipe())
    answers, ours = _high(*os.pipe())
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        silent = [(os.POSIX_SPAWN_OPEN, standard, os.devnull, os.O_RDWR, 0) for standard in (0, 1, 2)]
        pipes = [(os.POSIX_SPAWN_DUP2, theirs, 3), (os.POSIX_SPAWN_DUP2, ours, 4)]
        arguments = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = os.posix_spawn(CHROMIUM, arguments, os.environ, file_actions=[*silent, *pipes])
        os.close(theirs)
        os.close(ours)
        started = Browser(commands, answers)
        try:
            yield started
            started.send("Browser.close")
        finally:
            os.close(commands)  # without it the browser ends too
            os.waitpid(process, 0)
            os.close(answers)


def _high(*descriptors: int) -> list[int]:
    """Move descriptors out of the way of those that the browser expects."""
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in descriptors]
    for each in descriptors:
        os.close(each)
    return moved
