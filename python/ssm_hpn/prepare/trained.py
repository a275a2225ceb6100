"""Which ids of documents are those of a prepared part, such as the one that a model was trained on.

Only the names of the part's documents are read from its shards, and compared as 64-bit keys.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ssm_hpn.dataset import read_manifest
from ssm_hpn.prepare.split import Keys, text_keys

MOST: Final = 1 << 22
"""Documents of the part that are looked at: some seconds."""
FILE: Final = "^[^#]*#"
"""What stands before the id in the name of a document."""


def known(keys: Keys, part: Path) -> int:
    """How many of the keys of ids (`text_keys`) are those of documents of a prepared part; of a long one, its start.

    Raises `OSError`, `ValueError` or `DataError` for shards that cannot be read.
    """
    wanted = np.unique(keys)
    found = np.zeros(len(wanted), bool)
    looked = 0
    for shard in read_manifest(part)["shards"]:
        with pa.memory_map(str(part / shard["file"])) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                if looked >= MOST or not len(wanted):
                    break
                names = reader.get_batch(number).column("name")
                looked += len(names)
                theirs = text_keys(pc.replace_substring_regex(names, FILE, "").to_pylist())
                at = np.minimum(np.searchsorted(wanted, theirs), len(wanted) - 1)
                found[at[wanted[at] == theirs]] = True
    return int(np.isin(keys, wanted[found]).sum())
