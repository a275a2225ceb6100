"""`generate`: continue a prompt with a language model."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ssm_hpn.cli.checkpoint import checkpoint_parser, contract_of, load_model
from ssm_hpn.cli.parser import path_of
from ssm_hpn.cli.prompts import continued, prompt_of
from ssm_hpn.errors import EXIT_DONE, ConfigError, DataError, problem
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.printable import printable
from ssm_hpn.targets import language_model


def run(arguments: Sequence[str], prog: str) -> int:
    """Generate; returns the exit code."""
    parser = checkpoint_parser(prog, "Continue a prompt. The same seed gives the same text.")
    parser.add_argument("--prompt", help="text to continue (default: the one that training showed)")
    parser.add_argument("--prompt-file", type=path_of, metavar="FILE", help="file with the text to continue, in UTF-8")
    parser.add_argument("--tokens", type=int, default=256, metavar="N", help="tokens to add (default: 256)")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="X", help="0: the best token each time")
    parser.add_argument("--top-k", type=int, metavar="N", help="choose among the N best tokens only")
    parser.add_argument("--top-p", type=float, metavar="X", help="choose among the best tokens that together have X")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="continuations (default: 1)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the choices, N + k of sample k (default: 0)"
    )
    options = parser.parse_args(arguments)
    if options.samples < 1:
        raise ConfigError(problem("--samples", "a whole number from 1 on", options.samples, "give how many to write"))
    given = _given_prompt(options.prompt, options.prompt_file)
    trainer = load_model(options)
    kind = trainer.config.model.target.kind
    if isinstance(trainer, FilterLearner) or kind != language_model():
        raise ConfigError(problem(options.checkpoint, "a model of the next token", kind, "use predict for this one"))
    from ssm_hpn.prepare.encode import encoder_from  # imports pyarrow, so it is imported only when needed

    encoder = encoder_from(contract_of(trainer, options.checkpoint).encoder)
    prompt = given
    if prompt is None and encoder is not None:
        prompt = prompt_of(trainer, encoder)
    if encoder is None or prompt is None:
        raise ConfigError(problem("--prompt", "a text to continue", "none", "give --prompt TEXT or --prompt-file FILE"))
    read = encoder.encode_text(prompt)
    if not read:
        expected = "a text with at least one token: the model continues a text, and begins none"
        advice = "give some characters, or leave --prompt out for the one that training showed"
        raise ConfigError(problem("--prompt", expected, repr(prompt), advice))
    for number in range(options.samples):
        tokens = trainer.generate(
            read,
            options.tokens,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=options.seed + number,
        )
        text = "".join(continued(encoder, prompt, read, tokens))
        if options.samples > 1:
            sys.stdout.write(f"--- sample {number}, seed {options.seed + number}\n")
        sys.stdout.write(printable(text) + "\n")
    return EXIT_DONE


def _given_prompt(text: str | None, file: Path | None) -> str | None:
    """The prompt of the arguments; None where neither says one."""
    if file is None:
        return text
    if text is not None:
        raise ConfigError(problem("--prompt-file", "at most one prompt", "--prompt too", "leave one of the two out"))
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        raise DataError(problem(file, "text in UTF-8", found, "write the file in UTF-8")) from None
