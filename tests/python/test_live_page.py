"""The page of `serve` in a real Chromium: runs that are being written, several together, reports; pictures of it.

SSM_HPN_PICTURES names a folder for the pictures.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ssm_hpn import Callback, Trainer
from ssm_hpn.live import Server, Site
from ssm_hpn.report import write_report
from support import settings

pytestmark = pytest.mark.slow
WIDTHS = (1200, 390)


@contextmanager
def served(folder: Path, token: str | None = None) -> Iterator[str]:
    """The address of a server that runs in a thread."""
    with Server(("127.0.0.1", 0), Site([folder]), token=token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    driver, binary = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or binary is None:
        assert "CI" not in os.environ, "continuous integration has to have chromium and chromium-driver"
        pytest.skip("chromium and chromium-driver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(driver)) as found:
        yield found


def wait(until: Callable[[], Any], seconds: float = 30.0) -> Any:
    """The first true answer of a function that is asked again and again."""
    end = time.monotonic() + seconds
    while not (answer := until()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
    return answer


def texts(browser: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)"
    return list(browser.execute_script(script, selector))


def size(browser: Any, width: int, height: int = 1000) -> None:
    about = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", about)


def picture(browser: Any, name: str) -> None:
    folder = os.environ.get("SSM_HPN_PICTURES")
    for width in WIDTHS if folder else ():
        size(browser, width)
        time.sleep(0.5)
        tall = browser.execute_script("return document.documentElement.scrollHeight")
        size(browser, width, tall)
        time.sleep(0.5)
        browser.save_screenshot(str(Path(folder or "") / f"{name}-{width}.png"))
    size(browser, WIDTHS[0])


class Slowly(Callback):
    """Waits at update 4 until it may go on."""

    name = "slowly"

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def updated(self, event: Any) -> None:
        if event.progress.step == 4:
            assert self.go_on.wait(60)


def test_curves_grow_while_a_run_is_written_and_several_are_compared(text: Any, browser: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for number in (1, 2):
        Trainer(settings(text, runs / f"done{number}", train={"seed": number})).fit()
    write_report(runs / "done1")
    slowly = Slowly()
    trainer = Trainer(settings(text, runs / "live", train={"steps": 12, "log_every": 1}))
    thread = threading.Thread(target=lambda: trainer.fit(callbacks=[slowly]))
    with served(runs) as url:
        size(browser, 1200)
        browser.get(url)
        wait(lambda: len(texts(browser, "#runs tbody tr")) >= 2)
        thread.start()
        wait(lambda: any("live" in row and "4 of 12" in row for row in texts(browser, "#runs tbody tr")))
        script = (
            "return [...document.querySelectorAll('#runs tbody tr')].map(row => row.querySelector('input').checked)"
        )
        for row, checked in enumerate(browser.execute_script(script)):
            name = texts(browser, "#runs tbody tr td:first-child")[row]
            if checked != (name == "live"):
                browser.execute_script("document.querySelectorAll('#runs tbody tr')[arguments[0]].click()", row)
        last = "return [...plots.values()][0]?.plot.data[0].at(-1)"
        wait(lambda: browser.execute_script(last) == 4)
        assert "running" in texts(browser, "#runs .running")
        slowly.go_on.set()
        wait(lambda: browser.execute_script(last) == 12)
        thread.join()
        captions = texts(browser, "#curves figcaption")
        assert [one.split(" ")[0] for one in captions[:2]] == ["Loss", "Accuracy"]
        assert texts(browser, "#state") == ["live"]
        for row, name in enumerate(texts(browser, "#runs tbody tr td:first-child")):
            if name != "live":
                browser.execute_script("document.querySelectorAll('#runs tbody tr')[arguments[0]].click()", row)
        wait(lambda: {"done1", "done2", "live"} <= set(texts(browser, "#curves figure:first-child .u-label")))
        wait(lambda: any("settings that differ" in one for one in texts(browser, "#tables h3")))
        assert "train.seed" in texts(browser, "#tables th")
        assert any("±" in one for one in texts(browser, "#tables td"))
        picture(browser, "serve-several")
        size(browser, 390)
        wide = "return document.documentElement.scrollWidth <= 390"
        wait(lambda: browser.execute_script(wide))
        assert not [
            one for one in browser.get_log("browser") if one["level"] == "SEVERE" and "favicon" not in one["message"]
        ]
        (link,) = browser.execute_script("return [...document.querySelectorAll('#runs a')].map(one => one.href)")
        browser.get(link)
        assert browser.title == "done1 · ssm-hpn"
        assert texts(browser, "h2")[0] == "Learning"
        assert browser.execute_script(wide)
        picture(browser, "report")


def test_a_folder_may_be_empty_at_first_and_the_server_may_go(text: Any, browser: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    with served(runs) as url:
        browser.get(url)
        wait(lambda: texts(browser, "#runs td") == ["no runs yet"])
        assert texts(browser, "#state") == ["live"]
        Trainer(settings(text, runs / "first", train={"steps": 2})).fit()
        wait(lambda: texts(browser, "#runs tbody td:first-child") == ["first"])
        wait(lambda: texts(browser, "#curves figcaption"))
    wait(lambda: texts(browser, "#state") == ["the server does not answer"])


def test_with_a_token_nothing_is_shown_without_it(text: Any, browser: Any, tmp_path: Path) -> None:
    Trainer(settings(text, tmp_path / "runs/one", train={"steps": 2})).fit()
    with served(tmp_path / "runs", token="secret123") as url:
        browser.get(url.partition("?")[0])
        assert "the token is missing or wrong" in browser.page_source
        browser.get(url)
        wait(lambda: texts(browser, "#runs tbody td:first-child") == ["one"])
        assert "token" not in browser.current_url
        assert (
            json.loads(browser.execute_async_script("fetch('/api/runs').then(one => one.text()).then(arguments[0])"))[
                0
            ]["name"]
            == "one"
        )
