"""Runs while they are written: what `watch` and `serve` read of them, and who may ask."""

import http.client
import json
import os
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.follow import Folder, Followed
from ssm_hpn.live import Server, Site
from test_report import a_run


def test_rows_are_read_on_from_the_last_look(tmp_path):
    run = a_run(tmp_path / "run", steps=40)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]) + lines[2][:20])
    followed = Followed(run)
    assert followed.look()
    assert [row["step"] for row in followed.rows] == [0, 10]
    assert not followed.look()
    with (run / "metrics.jsonl").open("a") as file:
        file.write(lines[2][20:] + lines[3])
    assert followed.look()
    assert [row["step"] for row in followed.rows] == [0, 10, 20, 30]
    (run / "metrics.jsonl").write_text(lines[0])  # cut back, as on resume
    assert followed.look()
    assert [row["step"] for row in followed.rows] == [0]
    (run / "metrics.jsonl").unlink()
    assert not followed.look()


def test_a_state_is_what_the_files_say(tmp_path):
    run = a_run(tmp_path / "run", steps=40)
    (followed,) = Folder([tmp_path]).look()
    assert followed.state(followed.written + 5) == "running"
    assert followed.state(followed.written + 300) == "silent for 5.0 min"
    (run / "summary.json").write_text("{}")
    assert followed.state() == "finished"
    os.utime(run / "summary.json", (1, 1))  # that of an earlier part of a run that goes on
    assert followed.state(followed.written) == "running"
    (run / "config.toml").write_text("[train]\nsteps = 40\n")
    followed.look()
    assert followed.state() == "finished"
    assert followed.facts()["updates"] == "40 of 40"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.toml").write_text("")
    assert {one.folder.name: one.state() for one in Folder([tmp_path]).look()}["empty"] == "no rows"


def test_watch_prints_lines_until_all_have_ended(tmp_path, capsys):
    run = a_run(tmp_path / "runs/one", steps=40)
    (run / "config.toml").write_text("[train]\nsteps = 50\n")
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) | {"step": 50}

    def later():
        time.sleep(0.3)
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    thread = threading.Thread(target=later)
    thread.start()
    assert main(["watch", str(tmp_path / "runs"), "--every", "0.05"]) == 0
    thread.join()
    first, second = capsys.readouterr().out.splitlines()
    assert "one  running  40 of 50  loss 2.0" in first
    assert "one  finished  50 of 50" in second
    assert main(["watch", str(run), "--once"]) == 0
    assert "50 of 50" in capsys.readouterr().out
    assert main(["watch", str(tmp_path)]) == 2
    assert "expected a run, or a folder of runs" in capsys.readouterr().err
    assert main(["watch", str(run), "--every", "0"]) == 2
    capsys.readouterr()


@pytest.fixture
def ask(tmp_path):
    """Asks a server about a folder of two runs; returns status, headers and body."""
    a_run(tmp_path / "runs/a <b>", steps=40)
    run = a_run(tmp_path / "runs/other")
    (run / "report.html").write_text("<p>report</p>")
    (tmp_path / "secret.html").write_text("secret")
    servers = []

    def asked(path, *, token=None, **headers):
        server = Server(("127.0.0.1", 0), Site([tmp_path / "runs"]), token=token)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, dict(answer.getheaders()), body

    yield asked
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_server_gives_runs_curves_comparisons_and_reports(ask):
    runs = json.loads(ask("/api/runs")[2])
    assert {one["name"]: one["report"] for one in runs} == {"a <b>": False, "other": True}
    (loss, *_) = charts = json.loads(ask("/api/curves?run=other")[2])
    assert [curve["name"] for curve in loss["curves"]] == ["training", "held out"]
    assert [chart["caption"] for chart in charts][-1] == "Memory of the process"
    both = json.loads(ask(f"/api/curves?run=other&run={quote('a <b>')}&run=none")[2])
    assert [curve["name"] for curve in both[0]["curves"]] == ["other", "a <b>"]
    (table,) = json.loads(ask(f"/api/compare?run=other&run={quote('a <b>')}")[2])
    assert [row[0] for row in table["rows"]] == ["other", "a <b>"]
    assert ask("/report/other")[2] == "<p>report</p>"
    status, headers, page = ask("/")
    assert status == 200
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert "//" not in page.replace("<!--", "")
    for name in ("live.js", "uplot.js", "uplot.css", "page.css", "live.css"):
        assert ask(f"/static/{name}")[0] == 200


@pytest.mark.parametrize(
    "path", ["/report/..", "/report/%2e%2e%2fsecret.html", "/static/../live.py", "/none", "/static/page.html.j2"]
)
def test_the_server_gives_nothing_else(ask, path):
    status, _, body = ask(path)
    assert (status, body) == (404, "there is no such page, run or report\n")


def test_only_this_machine_and_those_with_the_token_may_ask(ask):
    assert ask("/api/runs", Host="evil.example")[0] == 403
    assert ask("/api/runs", Host="localhost:1")[0] == 200
    assert ask("/api/runs", token="secret123")[0] == 403
    assert ask("/api/runs", token="secret123", Authorization="Bearer wrong")[0] == 403
    assert ask("/api/runs", token="secret123", Authorization="Bearer secret123", Host="other.example")[0] == 200
    assert ask("/api/runs", token="secret123", Cookie="ssm_hpn_token=secret123")[0] == 200
    status, headers, _ = ask("/?token=secret123", token="secret123")
    assert (status, headers["Location"]) == (303, "/")
    assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]


def test_serve_refuses_what_it_cannot_serve(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    taken = Server(("127.0.0.1", 0), Site([tmp_path]))
    port = str(taken.server_address[1])
    for words, said in (
        ([str(tmp_path / "none")], "expected a folder of runs, found none"),
        ([str(tmp_path / "runs"), "--port", "70000"], "--port: expected a number from 0 to 65535"),
        ([str(tmp_path / "runs"), "--token", "short"], "--token: expected 8 or more letters and digits"),
        ([str(tmp_path / "runs"), "--port", port], f"127.0.0.1:{port}: expected an address to listen to"),
    ):
        assert main(["serve", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    taken.server_close()


def test_the_library_of_the_page_comes_with_its_licence():
    folder = Path(__file__).parents[2] / "python/ssm_hpn/templates/uplot"
    assert "Permission is hereby granted" in (folder / "LICENSE").read_text()
