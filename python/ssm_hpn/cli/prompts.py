"""What samples of a language model begin with: the prompt that was set, or else the first characters of held-out text.

The choice depends on the held-out shards alone, so that `generate` finds the prompt that training showed.
"""

from itertools import islice
from typing import TYPE_CHECKING, Final

from ssm_hpn.dataset import is_prepared
from ssm_hpn.trainer import Trainer

if TYPE_CHECKING:
    from ssm_hpn.prepare.encode import Encoder

CHARACTERS: Final = 32
"""Of a prompt that is taken from a document, at most."""
LONGEST_CHARACTER: Final = 4
"""Tokens (bytes, in UTF-8) of one character."""
DOCUMENTS_LOOKED_AT: Final = 64


def prompt_of(trainer: Trainer, encoder: "Encoder") -> str | None:
    """The text to continue; None where none was set and the held-out data has no readable text."""
    if trainer.config.evaluation.prompt is not None:
        return trainer.config.evaluation.prompt
    folder = trainer.validation_folder
    if folder is None or not is_prepared(folder) or not encoder.reads_text:
        return None
    from ssm_hpn.cli.documents import Reader  # pyarrow only where documents are read

    for document in islice(Reader(trainer).documents(folder), DOCUMENTS_LOOKED_AT):
        prompt = beginning(encoder.decode(document.x[: CHARACTERS * LONGEST_CHARACTER].tolist()))
        if prompt is not None:
            return prompt
    return None


def beginning(text: str) -> str | None:
    """Up to 32 characters and half of a text, in whole words if it has some; None if they are empty or unprintable."""
    text = text.lstrip()
    chosen = text[: min(CHARACTERS, len(text) // 2)]
    chosen = chosen.rpartition(" ")[0] or chosen
    readable = all(letter.isprintable() or letter in "\n\r\t" for letter in chosen)
    return chosen if chosen.strip() and readable and "\ufffd" not in chosen else None
