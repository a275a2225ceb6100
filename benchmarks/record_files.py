"""Names and files of records: one as JSON and one as a table, side by side."""

import json
import re
from pathlib import Path
from typing import Any


def stem_of(kind: str, about: dict[str, str]) -> str:
    """Name of a record: its kind, the processor, the date.

    >>> stem_of("small", {"processor": "Intel(R) Xeon(R) Processor, 2 cores", "date": "2026-11-28"})
    'small-intel-xeon-processor-2026-11-28'
    """
    name = re.sub(r"\(R\)|\(TM\)|,.*", "", about["processor"])
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}-{about['date']}"


def write_record(folder: Path, kind: str, record: dict[str, Any], table: str) -> None:
    """Write a record, of which `machine` tells processor and date, and its table."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = stem_of(kind, record["machine"])
    (folder / f"{stem}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / f"{stem}.md").write_text(table, encoding="utf-8")
