"""The command line: the only part that prints or exits."""

from ssm_hpn.cli.main import main as main
