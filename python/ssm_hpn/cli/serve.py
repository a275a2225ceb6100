"""`serve`: a local page of runs while they are written."""

import socket
from collections.abc import Sequence
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

from ssm_hpn.checkpoints import no_run
from ssm_hpn.cli.parser import Parser, path_of, port_of
from ssm_hpn.errors import EXIT_DONE, ConfigError, problem
from ssm_hpn.live import Server, Site, is_loopback

USUAL_PORT: Final = 8642
SHORTEST_TOKEN: Final = 8


def run(arguments: Sequence[str], prog: str) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    parser = Parser(prog=prog, description="A local page that shows runs while they are written, until Ctrl-C.")
    parser.add_argument("runs", nargs="?", type=path_of, default=Path("runs"), help="folder of runs (default: runs)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen to (default: this machine alone)")
    about = f"port, 0 for any (default: {USUAL_PORT})"
    parser.add_argument("--port", default=str(USUAL_PORT), metavar="N", help=about)
    about = "asked for with every request (default: a new one where other machines can ask)"
    parser.add_argument("--token", metavar="TEXT", help=about)
    options = parser.parse_args(arguments)
    path: Path = options.runs
    if not path.is_dir():
        raise ConfigError(no_run(path, "a folder of runs"))
    port = port_of("--port", options.port, USUAL_PORT)
    given: str | None = options.token
    if given is not None and not (len(given) >= SHORTEST_TOKEN and given.isascii() and given.isalnum()):
        expected = f"{SHORTEST_TOKEN} or more letters and digits"
        raise ConfigError(problem("--token", expected, "another text", "leave it out for a new one"))
    token = given or (None if is_loopback(options.host) else token_urlsafe(24))
    try:
        server = Server((options.host, port), Site([path]), token=token)
    except OSError as error:
        found = error.strerror or str(error)
        unknown = isinstance(error, socket.gaierror)
        advice = "give another --host" if unknown else "give another --port, 0 for any that is free"
        raise ConfigError(problem(f"{options.host}:{port}", "an address to listen to", found, advice)) from None
    with server:
        print(f"runs at {server.url}    Ctrl-C ends it", flush=True)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return EXIT_DONE
    return EXIT_DONE
