"""Two ranks on a link of 1 Gbit/s: two network namespaces of this machine, joined by a veth pair that `tc` limits.

    python tests/mpi/link.py [--rate 1gbit] [--config M] [--record]

Prints the row, and what the model on paper (benchmarks/ranks_on_paper.py) says of the time for such a link; `--record`
puts the row into benchmarks/records/mpi.json, beside those of run.py.

Needs root, iproute2, and a kernel with veth and the token bucket filter. Each namespace is a host to MPICH, whose
launcher reaches it by `ip netns exec` in place of ssh; MPICH is told not to use the memory that both hosts share here,
and that the gradients crossed the link is checked by what the devices have counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from run import FEW, MEASURED, RECORD, ROOT, SMALL, Work, environment, finish, launch, row_of

HOSTS: Final = {"ssm-hpn-a": "10.77.0.1", "ssm-hpn-b": "10.77.0.2"}
"""Address of each namespace."""
ENDS: Final = ("ssm-veth-a", "ssm-veth-b")
"""The devices at the ends of the link."""
NETWORK: Final = {"MPIR_CVAR_NOLOCAL": "1", "FI_PROVIDER": "tcp", "UCX_TLS": "tcp,self"}
"""Variables by which MPICH sends through the network also where processes could share memory."""
BYTES: Final = {"1gbit": 1e9 / 8, "10gbit": 10e9 / 8}
"""Bytes per second of rates of which the time is computed too."""
LAUNCHER: Final = """#!/bin/sh
# mpirun calls this in place of ssh, with options, an address and a command.
while [ $# -gt 0 ]; do
  host=$1
  shift
  case "$host" in
{cases}
  esac
done
exit 1
"""


def system(*words: str) -> None:
    """Run a command of the system. Raises where it fails."""
    subprocess.run(words, check=True, capture_output=True, text=True)


@contextmanager
def link(rate: str) -> Iterator[None]:
    """Two namespaces, joined by a link of a rate such as 1gbit in both directions; `none` for an unlimited one."""
    names = list(HOSTS)
    try:
        for name in names:
            system("ip", "netns", "add", name)
        system("ip", "link", "add", ENDS[0], "type", "veth", "peer", "name", ENDS[1])
        for name, end in zip(names, ENDS, strict=True):
            system("ip", "link", "set", end, "netns", name)
            inside = ("ip", "netns", "exec", name)
            system(*inside, "ip", "address", "add", f"{HOSTS[name]}/24", "dev", end)
            system(*inside, "ip", "link", "set", end, "up")
            system(*inside, "ip", "link", "set", "lo", "up")
            if rate != "none":
                bucket = ("root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms")
                system(*inside, "tc", "qdisc", "add", "dev", end, *bucket)
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def sent() -> int:
    """Bytes that the first end of the link has sent."""
    counter = f"/sys/class/net/{ENDS[0]}/statistics/tx_bytes"
    inside = ("ip", "netns", "exec", next(iter(HOSTS)), "cat", counter)
    return int(subprocess.run(inside, check=True, capture_output=True, text=True).stdout)


def prefix(folder: Path) -> list[str]:
    """The beginning of a command that starts a rank in each namespace."""
    cases = "\n".join(f'    {to}) exec ip netns exec {name} sh -c "$*" ;;' for name, to in HOSTS.items())
    script = folder / "launcher"
    script.write_text(LAUNCHER.format(cases=cases))
    script.chmod(0o755)
    first = next(iter(HOSTS))
    mpirun = str(environment("mpich") / "mpirun")
    hosts = ",".join(HOSTS.values())
    options = ["-launcher", "ssh", "-launcher-exec", str(script), "-localhost", HOSTS[first], "-hosts", hosts]
    return ["ip", "netns", "exec", first, mpirun, *options, "-ppn", "1"]


def main() -> None:
    """Train on both ends, and print the row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", default="1gbit")
    parser.add_argument("--config", choices=MEASURED, default="M")
    parser.add_argument("--record", action="store_true", help="put the row into the record")
    chosen = parser.parse_args()
    if chosen.record and not RECORD.exists():
        parser.error(f"--record: expected {RECORD.relative_to(ROOT)}, found nothing there; run tests/mpi/run.py --rows")
    sys.path[:0] = [str(ROOT / "python"), str(ROOT / "benchmarks")]
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-link-") as root, link(chosen.rate):
        work = Work(Path(root))
        folder = work.folder()
        options = SMALL | MEASURED[chosen.config] | FEW | {"--train.virtual_ranks": 2}
        code, output = finish(launch("mpich", 2, folder, options, mpirun=prefix(Path(root)), **NETWORK))
        if code != 0:
            sys.exit(f"exit code {code}:\n{output}")
        crossed = sent()
        about = {"ranks": 2, "threads": 1, "virtual_ranks": 2, "library": "mpich", "link": chosen.rate}
        row = row_of(folder, config=chosen.config, **about)
        print(row)
        expected = row["comm_bytes"] * FEW["--train.steps"]
        if crossed < expected:
            sys.exit(f"expected at least {expected} bytes on the link, found {crossed}: MPICH goes another way")
        if chosen.rate in BYTES:
            from ranks_on_paper import exchange_seconds

            computed = exchange_seconds(2, parameters=row["parameters"], link=BYTES[chosen.rate])
            print(f"exchange: {row['comm_ms']:.0f} ms measured, waiting included; {1e3 * computed:.0f} ms computed")
        if chosen.record:
            record = json.loads(RECORD.read_text())
            same = {key: row[key] for key in ("link", "config")}
            others = [one for one in record["rows"] if {key: one.get(key) for key in same} != same]
            RECORD.write_text(json.dumps(record | {"rows": [*others, row]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
