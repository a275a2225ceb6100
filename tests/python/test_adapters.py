"""Adapters to other packages of time series, where these are not installed."""

import subprocess
import sys

import pytest

pytest.importorskip("sklearn")


@pytest.mark.parametrize("name", ["aeon", "sktime"])
def test_without_its_package_an_adapter_says_what_to_install(name):
    code = f"import sys; sys.modules[{name!r}] = None; import ssm_hpn.estimators.{name}"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"ImportError: ssm_hpn.estimators.{name} needs {name}; pip install {name}" in found.stderr
