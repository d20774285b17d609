"""A headless Chromium driven over the WebDriver protocol with the standard library alone, for the tests of the page."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def find_browser() -> tuple[str, str] | None:
    """The browser and its driver, or None where this machine has not both."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One browser session."""

    def __init__(self, port: int, session: str) -> None:
        self._base = f"http://127.0.0.1:{port}/session/{session}"

    def open(self, page: Path) -> None:
        call(f"{self._base}/url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a function body of JavaScript returns."""
        return call(f"{self._base}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, seconds: float = 15) -> Any:
        """Wait until a function body returns something true, and return that. Fails after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            value = self.run(script)
            if value:
                return value
            assert time.monotonic() < deadline, f"not true within {seconds} s: {script}"
            time.sleep(0.02)

    def find(self, css: str) -> str:
        found = call(f"{self._base}/element", {"using": "css selector", "value": css})
        return str(next(iter(found.values())))

    def click(self, css: str) -> None:
        self.scroll_to(css)
        call(f"{self._base}/element/{self.find(css)}/click", {})

    def scroll_to(self, css: str) -> None:
        """Bring an element to the middle of the window, at once."""
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", css)

    def type(self, css: str, text: str) -> None:
        element = self.find(css)
        call(f"{self._base}/element/{element}/clear", {})
        call(f"{self._base}/element/{element}/value", {"text": text})

    def hover(self, css: str, dx: int = 0, dy: int = 0) -> None:
        """Move the pointer to so many pixels from the middle of an element."""
        self.scroll_to(css)
        origin = {"element-6066-11e4-a52e-4f735466cecf": self.find(css)}
        move = {"type": "pointerMove", "duration": 0, "origin": origin, "x": dx, "y": dy}
        call(f"{self._base}/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def drag(self, css: str, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Press at so many pixels from an element's middle, move in steps, and let go."""
        self.scroll_to(css)
        origin = {"element-6066-11e4-a52e-4f735466cecf": self.find(css)}
        spots = [tuple(round(a + (b - a) * part / 4) for a, b in zip(start, end, strict=True)) for part in range(5)]
        moves = [{"type": "pointerMove", "duration": 10, "origin": origin, "x": x, "y": y} for x, y in spots]
        steps = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        call(f"{self._base}/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": steps}]})

    def logs(self, kind: str) -> list[dict[str, Any]]:
        return list(call(f"{self._base}/se/log", {"type": kind}))

    def errors(self) -> list[str]:
        """What the console has said since the last call, warnings and errors."""
        return [entry["message"] for entry in self.logs("browser") if entry["level"] in ("WARNING", "SEVERE")]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call, the page's own file and ``data:`` among them."""
        events = [json.loads(entry["message"])["message"] for entry in self.logs("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def command(self, name: str, params: dict[str, Any]) -> Any:
        """One command of the DevTools protocol."""
        return call(f"{self._base}/goog/cdp/execute", {"cmd": name, "params": params})

    def theme(self, name: str) -> None:
        """What ``prefers-color-scheme`` says: "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.command("Emulation.setEmulatedMedia", {"features": features})

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.command("Emulation.setDeviceMetricsOverride", metrics)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(call(f"{self._base}/screenshot", None)))


def call(url: str, body: dict[str, Any] | None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{url}: {json.load(error)['value']['message'][:500]}") from error


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser of its own profile in ``folder``, ended (with all its processes) at the end."""
    found = find_browser()
    assert found is not None
    program, driver = found
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    process = subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    session = None
    port = 0
    try:
        assert process.stdout is not None
        for line in process.stdout:
            match = re.search(r"started successfully on port (\d+)", line)
            if match:
                port = int(match.group(1))
                break
        options = {
            "binary": program,
            "args": [*QUIET, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000"],
        }
        logging = {"browser": "ALL", "performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logging}
        made = call(f"http://127.0.0.1:{port}/session", {"capabilities": {"alwaysMatch": wanted}})
        session = made["sessionId"]
        yield Browser(port, session)
    finally:
        if session is not None:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/session/{session}", method="DELETE")
            with urllib.request.urlopen(request, timeout=30):
                pass
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
