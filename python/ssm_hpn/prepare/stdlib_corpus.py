"""The default corpus: the source text of the running Python's standard library, without its tests.

Real text that every machine has. Where the library is stripped of its sources, the `.py` files of installed packages
serve. A file is held out by a hash of its relative name, so it stays on its side between versions.
"""

import sysconfig
from pathlib import Path

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.dataset import check_made
from ssm_hpn.prepare.pipeline import Progress, Raw, prepare_sources
from ssm_hpn.prepare.prepared import Prepared
from ssm_hpn.prepare.problems import data_error
from ssm_hpn.prepare.source import Source

LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
LEAST_BYTES = 1_000_000
OPTIONS = PrepareOptions(encoder="bytes", split="name", validation_fraction=0.1)


def corpus_files() -> tuple[Path, list[Path]]:
    """The folder, and the files below it that make up the corpus."""
    paths = sysconfig.get_paths()
    for root in (Path(paths["stdlib"]), Path(paths["purelib"])):
        files = sorted(
            file
            for file in root.rglob("*.py")
            if not LEFT_OUT.intersection(file.relative_to(root).parts) and file.stat().st_size
        )
        if sum(file.stat().st_size for file in files) >= LEAST_BYTES:
            return root, files
    raise data_error(
        paths["stdlib"],
        "default corpus",
        expected="a megabyte of Python source",
        found="less",
        advice="name a text of your own with --data.train",
    )


def check_default(options: PrepareOptions) -> None:
    """Refuse settings that ask for something else than the default corpus is."""
    made = {"source": {"format": "text", "options": OPTIONS.model_dump(mode="json")}}
    check_made(options, made, what="the default corpus, for want of data.train,", validation=True)


def prepare_default(out: Path, *, progress: Progress | None = None) -> Prepared:
    """Shards of the default corpus, bytes as tokens."""
    root, files = corpus_files()
    sources = [Source(file, file.relative_to(root).as_posix(), "text") for file in files]
    return prepare_sources(Raw(sources, [], []), OPTIONS, out, progress=progress)
