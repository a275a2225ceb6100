"""Every numbered example runs unchanged, prints the expected results, and takes less than a minute."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

EXPECTED = {
    "01_text_language_model.py": [r"bigram +0\.\d+", r"this model +0\.\d+", r"(?s)def .+"],
    "02_sensor_classification.py": [r"linear +(0\.9\d\d|1\.000)", r"prototype +(0\.9\d\d|1\.000)", r"cavitation"],
    "03_variable_length_sequences.py": [
        r"5 to  60 +(0\.9|1\.0)",
        r"121 to 240",
        r"scores (0\.0e\+00|\d\.\de-0[5-9])",
    ],
    "04_embedding_trainer_step.py": [r"the same bits", r"step by step as whole: (100|9\d)%"],
    "05_growing_and_freezing.py": [r"identical to the bit", r"not one bit changed"],
    "06_decisions_from_a_table.py": [r"accuracy +(0\.9\d\d|1\.000)", r"N0,normal,", r"N4,,"],
    "07_a_new_fault.py": [
        r"three conditions +(5\d|60) of 60 answered, +(5\d|60) right",
        r"a bearing fails +1?\d of 65 answered, +0 right: mostly unknown",
        r"scores of the old ones are the same: True",
        r"25 windows of it +(3\d|40) of 40 answered, +(3\d|40) right: mostly bearing",
        r"the old conditions +(5\d|60) of 60 answered, +(5\d|60) right",
    ],
}


def test_every_example_is_run() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_example(name: str, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    started = time.monotonic()
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert found.returncode == 0, found.stderr
    for pattern in EXPECTED[name]:
        assert re.search(pattern, found.stdout), f"{pattern} is not in\n{found.stdout}"
    assert not list(tmp_path.iterdir()), "an example leaves files behind"
    assert time.monotonic() - started < 60
