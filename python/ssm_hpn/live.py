"""A local page that shows runs while they are written: a server of the standard library, files of this package, JSON.

    /                    the page: a table of runs, curves of the chosen ones, their settings that differ
    /api/runs            one object per run
    /api/curves?run=…    charts of one or several runs
    /api/compare?run=…   tables over several runs
    /report/RUN          the report of a run
    /static/…            the script of the page, and uPlot, which draws the curves

It reads the files of runs and writes nothing. Names of runs are looked up among the folders that are there; no path of
a request is opened. Where it listens to other machines every request needs the token.
"""

import hmac
import json
import sys
from collections.abc import Sequence
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET6
from threading import Lock
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from ssm_hpn.compare import by_task
from ssm_hpn.errors import Error
from ssm_hpn.follow import FACTS, REPORT, Folder, Followed
from ssm_hpn.page import TEMPLATES, rendered
from ssm_hpn.printable import on_one_line, printable
from ssm_hpn.run_curves import Chart, colour_of, cost_charts, learning_charts

STATIC: Final = {
    "live.js": ("live.js", "text/javascript"),
    "uplot.js": ("uplot/uPlot.iife.min.js", "text/javascript"),
    "uplot.css": ("uplot/uPlot.min.css", "text/css"),
    "page.css": ("page.css", "text/css"),
    "live.css": ("live.css", "text/css"),
}
MOST_TOGETHER: Final = 12
"""Most runs whose curves are shown together."""
OF_PAGE: Final = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'"
OF_REPORT: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
COOKIE: Final = "ssm_hpn_token"


class Site:
    """What the page shows, apart from how it is asked for."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._folder, self._lock = Folder(places), Lock()
        self._compared: tuple[object, list[dict[str, Any]]] = ((), [])
        """What the last tables were made of, and they."""

    def runs(self) -> list[dict[str, Any]]:
        """One object per run: its name, facts in words, and whether it has a report."""
        return [
            {"name": one.folder.name, "facts": {key: printable(text) for key, text in _facts(one).items()}}
            | {"report": (one.folder / REPORT).is_file(), "ended": one.ended, "rows": len(one.rows)}
            for one in self._look()
        ]

    def curves(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """The charts of runs; those of several are joined by caption, with a curve for each run."""
        runs = self._named(names)
        found: dict[str, dict[str, Any]] = {}
        for index, run in enumerate(runs):
            if run.record.fits_features or not run.rows:
                continue
            for chart in [*learning_charts(run.record), *cost_charts(run.record)]:
                entry = found.setdefault(chart.caption, _described(chart))
                entry["curves"] += _curves(chart, run, index, alone=len(runs) == 1)
        return list(found.values())

    def compare(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Tables over runs, for each task: results, spread over seeds, settings that differ."""
        runs = [run for run in self._named(names) if run.rows]
        now = [(run.folder, run.written, run.ended) for run in runs]
        if now != self._compared[0]:
            self._compared = (now, self._tables([run.folder for run in runs]))
        return self._compared[1]

    def _tables(self, runs: Sequence[Path]) -> list[dict[str, Any]]:
        return [
            {"title": f"{one.task}: {title}", "header": header, "rows": rows}
            for one in (by_task(runs) if runs else [])
            for title, header, rows in (
                ("results", one.header(), one.rows()),
                ("over seeds", *one.seeds()),
                ("settings that differ", *one.differing()),
            )
            if rows
        ]

    def report(self, name: str) -> bytes | None:
        """The report of a run; None where there is no such run or report."""
        for run in self._named([name]):
            try:
                return (run.folder / REPORT).read_bytes()
            except OSError:
                return None
        return None

    def _look(self) -> list[Followed]:
        with self._lock:
            return self._folder.look()

    def _named(self, names: Sequence[str]) -> list[Followed]:
        known = {one.folder.name: one for one in self._look()}
        return [known[name] for name in dict.fromkeys(names) if name in known][:MOST_TOGETHER]


def _facts(run: Followed) -> dict[str, str]:
    """The facts of a run; of one whose files make no sense only that, so that the others are shown."""
    try:
        facts = run.facts()
    except Exception as error:  # noqa: BLE001 - whatever one run holds, the others are shown
        return dict.fromkeys(FACTS, "") | {"run": run.folder.name, "state": f"cannot be read: {error}"}
    return facts if run.damage is None else facts | {"state": f"{facts['state']}; passed over: {run.damage}"}


def _described(chart: Chart) -> dict[str, Any]:
    """A chart without its curves."""
    y = chart.y
    axis = {"x": chart.x.label, "unit": y.unit, "percent": y.percent, "log": y.log, "zero": y.zero}
    return {"caption": chart.caption, "curves": [], **axis}


def _curves(chart: Chart, run: Followed, index: int, *, alone: bool) -> list[dict[str, Any]]:
    """The curves of a chart: of one run the smooth ones, of several the last one, under the name of the run."""
    chosen = [one for one in chart.curves if one.style != "faint"] if alone else chart.curves[-1:]
    return [
        {
            "name": one.name if alone else run.folder.name,
            "colour": one.colour if alone else colour_of(index),
            "style": one.style,
            "points": one.points(log=chart.y.log),
        }
        for one in chosen
    ]


class Server(ThreadingHTTPServer):
    """The server of a site.

    Parameters
    ----------
    address
        Host and port; port 0 for any that is free.
    site
        What it shows.
    token
        Asked for with every request; None where only this machine reaches it.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], site: Site, *, token: str | None = None) -> None:
        if ":" in address[0]:
            self.address_family = AF_INET6
        self.site, self.token = site, token
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - of the base class
        """One line about a request that failed; none where the one who asked has gone."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            sys.stderr.write(f"serve: {type(error).__name__}: {on_one_line(str(error))}\n")

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = str(self.server_address[0]), self.server_address[1]
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{port}/{'' if self.token is None else f'?token={self.token}'}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "ssm-hpn"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer one request."""
        try:
            url = urlsplit(self.path)
        except ValueError:
            self._text(HTTPStatus.BAD_REQUEST, "the address of the request is none\n")
            return
        query = parse_qs(url.query)
        if not self._allowed(query):
            self._text(HTTPStatus.FORBIDDEN, "the token is missing or wrong: open the address that `serve` printed\n")
        elif self.server.token is not None and "token" in query:
            self._to_the_page()
        else:
            try:
                self._answer(unquote(url.path), query.get("run", []))
            except Error as error:
                self._json({"error": printable(str(error))}, HTTPStatus.CONFLICT)

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002, ANN401 - of the base class
        """Say nothing of requests."""

    def _answer(self, path: str, runs: Sequence[str]) -> None:
        site, (_, kind, *rest) = self.server.site, [*path.split("/"), "", ""]
        name = "/".join(rest).rstrip("/")
        if path == "/":
            self._send(rendered("live.html.j2").encode(), "text/html", policy=OF_PAGE)
        elif path == "/api/runs":
            self._json(site.runs())
        elif path == "/api/curves":
            self._json(site.curves(runs))
        elif path == "/api/compare":
            self._json(site.compare(runs))
        elif kind == "static" and name in STATIC:
            file, about = STATIC[name]
            self._send((TEMPLATES / file).read_bytes(), about)
        elif kind == "report" and (page := site.report(name)) is not None:
            self._send(page, "text/html", policy=OF_REPORT)
        else:
            self._text(HTTPStatus.NOT_FOUND, "there is no such page, run or report\n")

    def _allowed(self, query: dict[str, list[str]]) -> bool:
        """Whether a request has the token; without one, whether it names this machine as its host.

        The second keeps pages of other sites, whose name was made to mean this machine, from reading the runs.
        """
        wanted = self.server.token
        if wanted is None:
            try:
                return is_loopback(urlsplit(f"//{self.headers.get('Host', '')}").hostname or "")
            except ValueError:
                return False
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        given = [*query.get("token", []), bearer, "" if cookie is None else cookie.value]
        return any(hmac.compare_digest(one.encode(), wanted.encode()) for one in given)

    def _to_the_page(self) -> None:
        """Keep the token in a cookie, so that it does not stay in the address."""
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        self.send_header("Set-Cookie", f"{COOKIE}={self.server.token}; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(value, allow_nan=False).encode(), "application/json", status=status)

    def _text(self, status: HTTPStatus, text: str) -> None:
        self._send(text.encode(), "text/plain", status=status)

    def _send(
        self, data: bytes, kind: str, *, status: HTTPStatus = HTTPStatus.OK, policy: str = "default-src 'none'"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(data)
