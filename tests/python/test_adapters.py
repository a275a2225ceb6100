"""Adapters to other packages of time series, where these are not installed."""

import sys
from importlib import import_module

import pytest

pytest.importorskip("sklearn")


@pytest.mark.parametrize("name", ["aeon", "sktime"])
def test_without_its_package_an_adapter_says_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"ssm_hpn.estimators.{name}", raising=False)
    with pytest.raises(ImportError, match=f"^ssm_hpn.estimators.{name} needs {name}; pip install {name}"):
        import_module(f"ssm_hpn.estimators.{name}")
