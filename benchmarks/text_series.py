"""Texts as series: features of fixed random channels of bytes, beside a backbone on token ids.

Usage: python benchmarks/text_series.py [--seeds 2]

Three tasks that it makes itself: the language of some frequent words, one of two motifs in random bases, the kind of a
log line. Prints the accuracy on 400 texts that were not trained on, and the seconds of fit and prediction.
"""

import argparse
import time
import warnings
from dataclasses import replace

import numpy as np

WORDS = {
    "english": "the and that have for not with you this but his from they say her she will one all would there their",
    "german": "der die und den von das mit sich des auf für ist dem nicht ein eine als auch es an werden aus er hat",
    "french": "le de un être et avoir ne je son que se qui ce dans en du elle au pour pas sur on avec tout nous mon",
    "italian": "di che la il un per in una mi sono ho non ma lo ha le si ti con cosa se io come da ci no questo qui",
}
MOTIFS = ("TATAAATA", "GGCCAATC")
LINES = (
    "sshd[{}]: connection from 10.0.{}.{} accepted",
    "sshd[{}]: authentication failure for user{} on port {}",
    "kernel: [{}.{}] eth{}: link is down",
    "kernel: [{}.{}] killed process {} out of memory",
    "app[{}]: request {} took {} ms",
)
Task = tuple[list[str], np.ndarray]


def languages(count: int, *, seed: int) -> Task:
    """Two to four frequent words each."""
    random = np.random.default_rng(seed)
    labels = [list(WORDS)[n % len(WORDS)] for n in range(count)]
    return [" ".join(random.choice(WORDS[one].split(), random.integers(2, 5))) for one in labels], np.array(labels)


def motifs(count: int, *, seed: int) -> Task:
    """Bases with one of two motifs somewhere, one letter of which is often another."""
    random = np.random.default_rng(seed)
    series = []
    for n in range(count):
        bases, motif = random.choice(list("ACGT"), 100), list(MOTIFS[n % 2])
        if random.random() < 0.3:
            motif[random.integers(len(motif))] = random.choice(list("ACGT"))
        start = random.integers(100 - len(motif))
        bases[start : start + len(motif)] = motif
        series.append("".join(bases))
    return series, np.arange(count) % 2


def lines(count: int, *, seed: int) -> Task:
    """Log lines of five kinds, with numbers that say nothing."""
    random = np.random.default_rng(seed)
    series = [LINES[n % len(LINES)].format(*random.integers(1, 250, 3)) for n in range(count)]
    return [f"Nov {random.integers(1, 29)} host{random.integers(1, 40)} {one}" for one in series], np.arange(count) % 5


TASKS = {"language": (languages, 80), "motif": (motifs, 400), "log line": (lines, 100)}


def of_features(train: Task, test: Task, channels: int, seed: int) -> float:
    """Accuracy of the default features on this number of channels of a byte."""
    from ssm_hpn.estimators import SSMClassifier
    from ssm_hpn.texts import ByteChannels

    spelled = replace(ByteChannels(seed), channels=channels)
    x, z = (spelled.series([text.encode() for text in texts]) for texts in (train[0], test[0]))
    return SSMClassifier(random_state=seed).fit(x, train[1]).score(z, test[1])


def of_backbone(train: Task, test: Task, seed: int, steps: int = 300) -> float:
    """Accuracy of the default backbone on ids of bytes, trained by updates of 16 texts."""
    from ssm_hpn import Trainer
    from ssm_hpn.dataset import padded
    from ssm_hpn.series import batches_without_end

    classes, codes = np.unique(train[1], return_inverse=True)
    target, head = {"kind": "sequence_class", "pooling": "mean"}, {"kind": "prototype", "n_classes": len(classes)}
    model = {
        "input": {"kind": "tokens", "vocab_size": 256},
        "d_model": 64,
        "n_layers": 2,
        "target": target,
        "head": head,
    }
    trainer = Trainer(
        {"model": model, "optim": {"lr": 3e-3}, "train": {"steps": steps, "batch_size": 16, "seed": seed}}
    )
    ids = [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in train[0]]
    order = batches_without_end(len(ids), 16, np.random.default_rng(seed))
    for _ in range(steps):
        chosen = next(order)
        batch = padded([ids[i] for i in chosen], "tokens")
        trainer.step(batch | {"sequence_class": codes[chosen].astype(np.int32)})
    found = [
        trainer.predict(padded([np.frombuffer(text.encode(), np.uint8).astype(np.int32)], "tokens"))[0].argmax()
        for text in test[0]
    ]
    return float((classes[found] == test[1]).mean())


def main() -> None:
    """Print a line for each task and model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    seeds = range(parser.parse_args().seeds)
    models = {f"features, {k} channels": (lambda a, b, seed, k=k: of_features(a, b, k, seed)) for k in (4, 8, 16, 32)}
    models["backbone on ids"] = of_backbone
    print(f"{'task':10}{'model':24}{'accuracy':>10}{'seconds':>9}")
    for task, (make, count) in TASKS.items():
        train, test = make(count, seed=1), make(400, seed=2)
        for name, measure in models.items():
            begin = time.perf_counter()
            found = [measure(train, test, seed) for seed in seeds]
            each = (time.perf_counter() - begin) / len(seeds)
            print(f"{task:10}{name:24}{np.mean(found):10.3f}{each:9.1f}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
