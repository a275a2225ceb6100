"""Makes the environment that runs this import the package from the source tree, beside the compiled core in there.

Usage: .venv/bin/python scripts/link_source.py
"""

import sysconfig
from pathlib import Path

source = Path(__file__).resolve().parent.parent / "python"
Path(sysconfig.get_path("purelib"), "ssm_hpn_source.pth").write_text(f"{source}\n", encoding="utf-8")
