"""The prompt of samples of a language model: the one that was set, or else the beginning of a held-out text.

The choice depends on the held-out shards alone, so that `generate` finds the prompt that training showed.
"""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from ssm_hpn.dataset import is_prepared
from ssm_hpn.errors import ConfigError
from ssm_hpn.trainer import Trainer

if TYPE_CHECKING:
    from ssm_hpn.prepare.encode import Encoder

CHARACTERS: Final = 32
"""Most characters of a prompt that is taken from a document."""
LONGEST_CHARACTER: Final = 4
"""Most tokens (bytes, in UTF-8) of one character."""
DOCUMENTS_LOOKED_AT: Final = 64


def prompt_of(trainer: Trainer, encoder: "Encoder") -> str | None:
    """The text to continue; None where none was set and the held-out data has no readable text."""
    if trainer.config.evaluation.prompt is not None:
        return trainer.config.evaluation.prompt
    folder = trainer.validation_folder
    if folder is None or not is_prepared(folder) or not encoder.reads_text:
        return None
    if trainer.contract is None:
        return None
    from ssm_hpn.documents import Reader  # imports pyarrow, which is needed only where documents are read

    reader = Reader(trainer.contract, trainer.config.model.target.kind)
    for document in islice(reader.documents(folder), DOCUMENTS_LOOKED_AT):
        prompt = beginning(encoder.decode(document.x[: CHARACTERS * LONGEST_CHARACTER].tolist()))
        if prompt is not None and _is_encodable(prompt, encoder):
            return prompt
    return None


def continued(encoder: "Encoder", prompt: str, read: Sequence[int], written: Sequence[int]) -> tuple[str, str]:
    """A prompt and its continuation as text.

    Both are decoded together: whether a blank, or half a character, lies between them is known from both alone.

    Parameters
    ----------
    encoder
        Of the model's text.
    prompt
        As it was given. It is shown so unless the first new token changes how its end is decoded.
    read, written
        The token ids of the prompt and of what the model added.
    """
    before, whole = encoder.decode(read), encoder.decode([*read, *written])
    if not whole.startswith(before):
        pairs = enumerate(zip(before, whole, strict=False))
        common = next((place for place, (one, other) in pairs if one != other), len(whole))
        return whole[:common], whole[common:]
    added = whole[len(before) :]
    blank_is_there = prompt[-1:].isspace() and not before[-1:].isspace()
    return prompt, added[1:] if blank_is_there and added[:1] == " " else added


def _is_encodable(prompt: str, encoder: "Encoder") -> bool:
    """Whether a decoded text can be encoded again: one with a token for unknown words may not."""
    try:
        encoder.encode_text(prompt)
    except ConfigError:
        return False
    return True


def beginning(text: str) -> str | None:
    """Up to 32 characters and half of a text, in whole words if it has some; None if they are empty or unprintable."""
    text = text.lstrip()
    chosen = text[: min(CHARACTERS, len(text) // 2)]
    chosen = chosen.rpartition(" ")[0] or chosen
    readable = all(letter.isprintable() or letter in "\n\r\t" for letter in chosen)
    return chosen if chosen.strip() and readable and "\ufffd" not in chosen else None
