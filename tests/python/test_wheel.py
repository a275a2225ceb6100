"""The wheel and `pip install .`, each in a new environment outside the source tree."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def run(command: list[str], cwd: Path, **variables: str) -> str:
    """Output of a command that must succeed, run without a compiler on the path."""
    compilers = ("PYTHON", "CARGO", "RUST", "VIRTUAL")
    env = {key: value for key, value in os.environ.items() if not key.startswith(compilers)}
    env |= {"PATH": "/nonexistent", "CC": "/nonexistent/cc", **variables}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "maturin", "build", "--release", "--quiet", "--out", str(out)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, check=True, timeout=1800)
    return next(out.glob("*.whl"))


def test_the_wheel_is_abi3_and_has_stub_and_license(wheel):
    assert "-cp311-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "ssm_hpn/py.typed" in names
    assert "ssm_hpn/_core.pyi" in names
    assert {
        f"ssm_hpn/templates/{name}"
        for name in ("page.html.j2", "blocks.html.j2", "page.css", "live.js", "uplot/LICENSE")
    } <= set(names)
    assert sum(name.startswith("ssm_hpn/_core.") and name.endswith((".so", ".pyd", ".dylib")) for name in names) == 1
    assert any(name.endswith("LICENSE") for name in names)
    assert not any("__pycache__" in name or name.startswith("tests") for name in names)


def test_the_wheel_imports_and_trains_outside_the_source_tree(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=300)
    python = str(tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], cwd=tmp_path, check=True, timeout=900)
    where = run([python, "-c", "import ssm_hpn; print(ssm_hpn.__file__)"], tmp_path)
    assert str(tmp_path) in where
    text = tmp_path / "text"
    text.mkdir()
    for number in range(20):
        (text / f"{number}.txt").write_text(f"number {number} says: the quick brown fox jumps over the lazy dog\n" * 20)
    small = ["--model.d_model", "16", "--model.n_layers", "2", "--data.length", "64"]
    schedule = ["--train.steps", "5", "--train.batch_size", "2", "--evaluation.batches", "2"]
    command = [python, "-m", "ssm_hpn.train", "--data", str(text), *small, *schedule, "--run.folder", "run"]
    assert "finished after 5 updates" in run(command, tmp_path)
    for name in ("config.toml", "metrics.jsonl", "report.html", "checkpoints/latest"):
        assert (tmp_path / "run" / name).is_file(), name
    generated = run([python, "-m", "ssm_hpn", "generate", "run", "--prompt", "the ", "--tokens", "8"], tmp_path)
    assert generated.startswith("the ")


def test_the_source_tree_installs_with_pip(tmp_path):
    """Without network: maturin and the dependencies are those of this environment."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=300)
    python = str(tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    found = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run([python, "-c", found], tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # .pth files in it are ignored
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    alone = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [python, "-m", "pip", "install", "--quiet", *alone, str(ROOT)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (site / "ssm_hpn" / "py.typed").is_file()
    where = run([python, "-c", "import ssm_hpn; print(ssm_hpn.__file__)"], tmp_path)
    assert Path(where.strip()).parent == site / "ssm_hpn"
    script = str(Path(python).parent / "ssm-hpn")
    assert "usage: ssm-hpn COMMAND" in run([script], tmp_path)
