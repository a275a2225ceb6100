"""Runs while they are written: what `watch` and `serve` read of them, and who may ask."""

import http.client
import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.cli.watch import _plain
from ssm_hpn.follow import FACTS, Folder, Followed
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


def test_a_file_that_was_cut_back_and_grew_between_two_looks_is_read_anew(tmp_path):
    run = a_run(tmp_path / "run", steps=40)
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3]))
    followed = Followed(run)
    assert followed.look()
    other = lines[1].replace('"step": 10', '"step": 15')
    for grown in (lines[0] + other * 3, lines[0] + other + lines[1] * 2):  # beyond the old length, and to the same one
        path.write_text(grown)
        assert followed.look()
        assert [row["step"] for row in followed.rows] == [json.loads(line)["step"] for line in grown.splitlines()]
    path.write_text("")
    assert followed.look()
    assert followed.rows == []


NO_ROWS = (
    b"[1,2]",
    b"{}",
    b'{"step": 5, "train/loss": "x"}',
    b'{"step": 5, "eval/loss": [1]}',
    b'{"step": true}',
    b"\xff",
)


@pytest.mark.parametrize("line", NO_ROWS)
@pytest.mark.parametrize("command", ["report", "compare", "watch", "inspect", "migrate"])
def test_a_line_that_is_no_row_is_one_clear_line_by_every_reader(tmp_path, capfd, line, command):
    run = a_run(tmp_path / "run", steps=40)
    path = run / "metrics.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, line + b"\n", *rest]))
    words = {"watch": ["--once"], "inspect": ["--verify"]}.get(command, [])
    code = main([command, str(run), *words])
    found = capfd.readouterr()
    assert code == (0 if command == "watch" else 6)
    (said,) = (one for one in (found.out + found.err).splitlines() if "metrics.jsonl:2" in one)
    assert "expected a row of metrics, found b" in said
    assert "this is a bug" not in found.err


def test_runs_of_the_same_name_are_told_apart_and_a_removed_run_ends_watch(tmp_path, capsys, monkeypatch):
    runs = [a_run(tmp_path / place / "one", steps=steps) for place, steps in (("a", 40), ("b", 60))]
    for run in runs:
        (run / "config.toml").write_text("[train]\nsteps = 100\n")
    looks = []

    def wait(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            for run in runs:
                shutil.rmtree(run)

    monkeypatch.setattr("ssm_hpn.cli.watch.time.sleep", wait)
    assert main(["watch", *map(str, runs), "--every", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert _plain([]) == (list(FACTS), [])


@pytest.mark.parametrize("every", ["inf", "1e12", "nan", "86401", "0"])
def test_watch_looks_at_least_once_a_day(tmp_path, capsys, every):
    run = a_run(tmp_path / "run", steps=40)
    assert main(["watch", str(run), "--every", every]) == 2
    assert "--every: expected seconds above 0, up to 86400" in capsys.readouterr().err


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
    assert "one  running  40 of 50  training loss 2.0" in first
    assert first.count("loss") == first.count("training loss") + first.count("held out: loss")
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


def test_one_bad_run_is_shown_beside_the_others(ask, tmp_path, monkeypatch):
    (tmp_path / "runs/other/config.toml").write_text("train = 3\n[model]\nx = 1\n")
    with (tmp_path / "runs/a <b>/metrics.jsonl").open("a") as file:
        file.write("[1]\n")
    runs = {one["name"]: one for one in json.loads(ask("/api/runs")[2])}
    assert "passed over" in runs["a <b>"]["facts"]["state"]
    (tmp_path / "runs/other/config.toml").write_text('[train]\nsteps = "many"\n')
    assert {one["name"] for one in json.loads(ask("/api/runs")[2])} == {"a <b>", "other"}
    facts = Followed.facts

    def failing(run):
        return facts(run) if run.folder.name == "other" else {}["no key"]

    monkeypatch.setattr(Followed, "facts", failing)
    runs = {one["name"]: one["facts"] for one in json.loads(ask("/api/runs")[2])}
    assert "cannot be read" in runs["a <b>"]["state"]
    assert list(runs["a <b>"]) == list(runs["other"])


@pytest.mark.parametrize(
    ("request_line", "host", "status"),
    [("GET http://[ HTTP/1.0", "localhost", b" 400 "), ("GET /api/runs HTTP/1.0", "[", b" 403 ")],
)
def test_a_malformed_address_is_answered(tmp_path, capfd, request_line, host, status):
    a_run(tmp_path / "runs/a")
    with Server(("127.0.0.1", 0), Site([tmp_path / "runs"])) as server:
        threading.Thread(target=server.handle_request).start()
        with socket.create_connection(server.server_address[:2], timeout=20) as connection:
            connection.sendall(f"{request_line}\r\nHost: {host}\r\n\r\n".encode())
            assert status in connection.makefile("rb").readline()
    assert capfd.readouterr().err == ""


def fail(error):
    raise error


def test_a_failed_request_is_at_most_one_line(tmp_path, capfd):
    with Server(("127.0.0.1", 0), Site([tmp_path])) as server:
        for error in (BrokenPipeError("gone"), TimeoutError("slow"), ValueError("two\nlines")):
            try:
                fail(error)
            except (OSError, ValueError):
                server.handle_error(None, None)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("serve: ValueError: two")


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


def test_tables_are_made_anew_only_where_a_run_has_changed(tmp_path, monkeypatch):
    run = a_run(tmp_path / "runs/one", steps=20)
    a_run(tmp_path / "runs/two", steps=20)
    site, made = Site([tmp_path / "runs"]), []
    tables = Site._tables
    monkeypatch.setattr(Site, "_tables", lambda self, runs: made.append(runs) or tables(self, runs))
    first = site.compare(["one", "two"])
    assert site.compare(["one", "two"]) == first != []
    assert len(made) == 1
    with (run / "metrics.jsonl").open("a") as file:
        file.write((run / "metrics.jsonl").read_text().splitlines()[-1].replace('"step": 20', '"step": 30') + "\n")
    os.utime(run / "metrics.jsonl", (9e8, 9e8))
    site.compare(["one", "two"])
    assert len(made) == 2


def test_serve_refuses_what_it_cannot_serve(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "text.txt").write_text("text")
    taken = Server(("127.0.0.1", 0), Site([tmp_path]))
    port = str(taken.server_address[1])
    for words, said in (
        ([str(tmp_path / "none")], "expected a folder of runs, found no such file or folder"),
        ([str(tmp_path / "text.txt")], "expected a folder of runs, found a file"),
        ([str(tmp_path / "runs"), "--host", "nope.invalid"], "give another --host"),
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


@pytest.mark.parametrize("words", [["generate"], ["evaluate"], ["predict", "--data", "x.txt"]])
def test_a_file_in_place_of_a_run_is_named_as_such(tmp_path, capsys, words):
    (tmp_path / "that.txt").write_text("text")
    assert main([*words, str(tmp_path / "that.txt")]) == 4
    said = "that.txt: expected a checkpoint, or a run with checkpoints, found a file; name the folder of a run"
    assert said in capsys.readouterr().err
