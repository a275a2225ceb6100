"""Whether all ranks of a training begin alike: version, settings, data, and the checkpoint that they go on from."""

import json
from typing import Final

from ssm_hpn._core import __version__, build_info
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, Error, problem
from ssm_hpn.learner import Learner

_ALIKE: Final[tuple[tuple[str, type[Error], str], ...]] = (
    ("version", ConfigError, "install the same version everywhere"),
    ("target", ConfigError, "run on machines of one kind"),
    ("data.digest", DataError, "give every rank the same prepared data"),
    ("settings", ConfigError, "give every rank the same settings"),
    ("update", CheckpointError, "give every rank the same run.folder, on storage that all of them see"),
    ("parameters", CheckpointError, "give every rank the same run.folder, on storage that all of them see"),
)
"""What has to be alike, the error where it is not, and advice."""


def check_same_start(learner: Learner) -> None:
    """Compare this rank with rank 0; all ranks call it at once.

    Raises `ConfigError`, `DataError` or `CheckpointError` on every rank, naming the first one that differs.

    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    >>> check_same_start(Trainer({"model": model}))  # a process alone is like itself
    """
    ranks = learner.ranks
    if ranks.size == 1:
        return
    own = {
        "host": ranks.host,
        "version": __version__,
        "target": build_info()["target"],
        "data.digest": learner.config.data.digest or "none",
        "settings": learner.config.digest(),
        "update": learner.session.step,
        "parameters": learner.session.digest(),
    }
    all_ranks = [json.loads(one) for one in ranks.gather(json.dumps(own).encode())]
    for name, error, advice in _ALIKE:
        for rank, other in enumerate(all_ranks):
            if other[name] != all_ranks[0][name]:
                expected = f"{str(all_ranks[0][name])[:16]}, as on rank 0 ({all_ranks[0]['host']})"
                where = f"rank {rank} on {other['host']}: {name}"
                raise error(problem(where, expected, str(other[name])[:16], advice))
