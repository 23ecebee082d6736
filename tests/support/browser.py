"""A headless Chromium for tests, driven over the DevTools protocol; no driver and no library for it is needed.

Pages that load something from elsewhere get it from files: a browser in a test reaches nothing but loopback.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 60  # seconds of real time; a busy machine needs twenty, a page that is wrong all of them
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root, too
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-popup-blocking",
    "--proxy-server=http://127.0.0.1:9",  # nothing but loopback is reached
    "--proxy-bypass-list=127.0.0.1;localhost",
    "--remote-debugging-port=0",
)


class NoBrowserError(Exception):
    """Chromium is there and does not start: what it wrote."""


class Browser:
    """Pages by session. `files` maps a URL to the file that is served in its place."""

    def __init__(self, connection: ClientConnection, files: Mapping[str, Path]) -> None:
        self._connection = connection
        self._files = files
        self._number = 0
        self.pages: list[Page] = []
        self.log: list[str] = []  # of exceptions that no page caught
        # Every page from its first request on, those that a page opens, too.
        attach = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        self.call("Target.setAutoAttach", attach)

    def send(self, method: str, parameters: Mapping[str, Any], session: str | None) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": dict(parameters)}
        self._connection.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        return self._number

    def call(self, method: str, parameters: Mapping[str, Any] | None = None, session: str | None = None) -> Any:
        """One command, and its answer; what happens meanwhile is looked after."""
        number = self.send(method, parameters or {}, session)
        while True:
            message = self.receive()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=_PATIENCE))
        parameters, session = message.get("params", {}), message.get("sessionId")
        event = message.get("method")
        if event == "Target.attachedToTarget":
            self._attached(parameters["sessionId"], parameters["targetInfo"])
        elif event == "Target.detachedFromTarget":
            self.pages = [page for page in self.pages if page.session != parameters["sessionId"]]
        elif event == "Fetch.requestPaused":
            self._fulfil(parameters, session)
        elif event == "Runtime.exceptionThrown":
            self.log.append(json.dumps(parameters["exceptionDetails"])[:500])
        return message

    def _attached(self, session: str, target: dict[str, Any]) -> None:
        if target["type"] == "page":
            self.pages.append(Page(self, session))
            self.send("Runtime.enable", {}, session)
            self.send("Fetch.enable", {"patterns": [{"urlPattern": "https://*"}]}, session)
        self.send("Runtime.runIfWaitingForDebugger", {}, session)

    def _fulfil(self, paused: dict[str, Any], session: str | None) -> None:
        name, file = {"requestId": paused["requestId"]}, self._files.get(paused["request"]["url"])
        if file is None:
            self.send("Fetch.failRequest", {**name, "errorReason": "InternetDisconnected"}, session)
            return
        body = base64.b64encode(file.read_bytes()).decode("ascii")
        kind = {".js": "text/javascript", ".css": "text/css"}[file.suffix]
        headers = [{"name": "Content-Type", "value": kind}]
        self.send(
            "Fetch.fulfillRequest", {**name, "responseCode": 200, "responseHeaders": headers, "body": body}, session
        )

    def open(self, url: str) -> Page:
        """A new page at `url`."""
        known = set(self.pages)
        self.call("Target.createTarget", {"url": url})
        return self.another(known)

    def another(self, known: set[Page]) -> Page:
        """The page that is not among `known`, as soon as it is there."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            for page in self.pages:
                if page not in known:
                    return page
            self.call("Browser.getVersion")  # reads what came meanwhile
            time.sleep(0.02)
        raise AssertionError(f"no further page came up; the log: {self.log}")


class Page:
    """One page. Elements are named by CSS selectors."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.browser = browser
        self.session = session

    def run(self, script: str) -> Any:
        """The value of an expression in the page, as a person's gesture would run it."""
        parameters = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.browser.call("Runtime.evaluate", parameters, self.session)
        assert "exceptionDetails" not in answer, (script, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """The first value of an expression that is true in the page's sense."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.02)
        text = self.run("document.body ? document.body.innerText : ''")
        raise AssertionError(f"{script} did not come true; the page: {text[-1500:]}; the log: {self.browser.log}")

    def click(self, selector: str) -> None:
        """Click the first element of `selector`, as soon as it is there."""
        self.click_element(f"document.querySelector({json.dumps(selector)})")

    def click_element(self, script: str) -> None:
        """Click the element that an expression gives, as soon as there is one, in one go: pages are drawn anew."""
        self.wait(f"(one => !!one && !one.disabled && (one.click(), true))({script})")

    def text(self, selector: str) -> str:
        """What the first element of `selector` says, as soon as it says something."""
        return str(self.wait(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText"))


@contextmanager
def chromium(files: Mapping[str, Path]) -> Iterator[Browser]:
    """A browser with a profile of its own, ended in any case."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Path(profile, "stderr").open("wb") as log:
        command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        try:
            place = _place(process, Path(profile))
            with connect(place, max_size=None, proxy=None, open_timeout=_PATIENCE) as connection:
                browser = Browser(connection, files)
                yield browser
                with suppress(ConnectionClosed):
                    browser.call("Browser.close")
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _place(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Where the browser listens: it writes that into a file."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            port, path = (profile / "DevToolsActivePort").read_text("ascii").splitlines()
        except (OSError, ValueError):
            time.sleep(0.05)
        else:
            return f"ws://127.0.0.1:{port}{path}"
    raise NoBrowserError((profile / "stderr").read_text("utf-8", "replace")[-500:])
