"""`generate`: continue a prompt with a language model."""

import sys
from collections.abc import Sequence

from ssm_hpn.cli.checkpoint import checkpoint_parser, contract_of, load_model
from ssm_hpn.cli.prompts import continued, prompt_of
from ssm_hpn.errors import EXIT_DONE, ConfigError, problem
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.printable import printable
from ssm_hpn.targets import language_model


def run(arguments: Sequence[str], prog: str) -> int:
    """Generate; returns the exit code."""
    parser = checkpoint_parser(prog, "Continue a prompt. The same seed gives the same text.")
    parser.add_argument("--prompt", help="text to continue (default: the one that training showed)")
    parser.add_argument("--tokens", type=int, default=256, metavar="N", help="tokens to add (default: 256)")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="X", help="0: the best token each time")
    parser.add_argument("--top-k", type=int, metavar="N", help="choose among the N best tokens only")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choices (default: 0)")
    options = parser.parse_args(arguments)
    trainer = load_model(options)
    kind = trainer.config.model.target.kind
    if isinstance(trainer, FilterLearner) or kind != language_model():
        raise ConfigError(problem(options.checkpoint, "a model of the next token", kind, "use predict for this one"))
    from ssm_hpn.prepare.encode import encoder_from  # imports pyarrow, so it is imported only when needed

    encoder = encoder_from(contract_of(trainer, options.checkpoint).encoder)
    prompt: str | None = options.prompt
    if prompt is None and encoder is not None:
        prompt = prompt_of(trainer, encoder)
    if encoder is None or prompt is None:
        raise ConfigError(problem("--prompt", "a text to continue", "none", "give --prompt TEXT"))
    read = encoder.encode_text(prompt)
    if not read:
        expected = "a text with at least one token: the model continues a text, and begins none"
        advice = "give some characters, or leave --prompt out for the one that training showed"
        raise ConfigError(problem("--prompt", expected, repr(prompt), advice))
    tokens = trainer.generate(
        read,
        options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        seed=options.seed,
    )
    text = "".join(continued(encoder, prompt, read, tokens))
    sys.stdout.write(printable(text) + "\n")
    return EXIT_DONE
