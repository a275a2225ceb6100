"""A byte-level language model on your own text, from files to a continuation.

    python examples/01_text_language_model.py [FILE_OR_FOLDER ...]

Without arguments it reads part of the standard library's source. The command line does the same and more:
`python -m ssm_hpn.train --data FILE_OR_FOLDER`.
"""

import sys
import sysconfig
import tempfile
from pathlib import Path

from ssm_hpn import Trainer
from ssm_hpn.baselines import compare
from ssm_hpn.config import PrepareOptions
from ssm_hpn.prepare import prepare

SETTINGS = {
    "model": {"d_model": 96, "n_layers": 2},
    "data": {"length": 256},
    "optim": {"lr": 6e-3},
    "train": {"steps": 160, "batch_size": 8, "log_every": 20},
    "evaluation": {"every": 80, "batches": 16},
}
PROMPT = "def "


def main() -> None:
    """Prepare, train, compare, continue."""
    library = Path(sysconfig.get_path("stdlib"))
    sources = sys.argv[1:] or [str(library / name) for name in ("email", "json", "logging", "importlib", "unittest")]
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(PrepareOptions(train=tuple(sources)), Path(folder) / "data")
        print(f"{data.parts['train'].tokens:,} bytes to train on, {data.parts['validation'].tokens:,} held out")

        settings = SETTINGS | {"run": {"folder": f"{folder}/run"}}
        settings["data"] = SETTINGS["data"] | {"train": str(data.train), "validation": str(data.validation)}
        trainer = Trainer(settings)
        result = trainer.fit()
        print(f"{result.step} updates in {result.seconds:.0f} s")

        found = trainer.evaluate(trainer.held_out("all")).values
        print(f"\n{'held out':<12} accuracy  bits per byte")
        for table in compare(data.train, data.validation):
            print(f"{table.name:<12} {table.accuracy:8.3f}  {table.bits_per_byte:13.3f}")
        print(f"{'this model':<12} {found['accuracy']:8.3f}  {found['bits_per_token']:13.3f}")

        tokens = trainer.generate(data.encoder.encode_text(PROMPT), 160, temperature=0.7, seed=4)
        print(f"\n{PROMPT}{data.encoder.decode(tokens)}")


if __name__ == "__main__":
    main()
