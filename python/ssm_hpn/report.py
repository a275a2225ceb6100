"""`report.html`: one file that needs no network, made from the other files of a run's folder alone, at any time.

config.toml and metrics.jsonl are needed; environment.json (machine, date, command), the contract in a checkpoint (the
data), evaluation.json (confusion matrix), summary.json (metrics on all held-out data), decisions.json (single decisions
of a classifier of sequences), baselines.json (tables fitted to the same bytes, and compressors) and samples.jsonl
(continuations of a prompt) are shown where they are. The same files give the same bytes: nothing here looks at the
clock.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ssm_hpn import page, parts, plots, targets
from ssm_hpn.counts import counted, noun_for
from ssm_hpn.curves import Axis, Number, show
from ssm_hpn.drawing import drawn
from ssm_hpn.evaluation import number_header, number_rows
from ssm_hpn.metrics import ACCURACY, AT_UPDATES, BITS, BITS_PER_BYTE
from ssm_hpn.page import (
    About,
    Block,
    Cell,
    Code,
    Facts,
    Figure,
    Heading,
    Matrix,
    Samples,
    Section,
    Table,
    Text,
    Tiles,
    figures,
)
from ssm_hpn.printable import printable
from ssm_hpn.report_decisions import decision_sections
from ssm_hpn.run_curves import cost_charts, duration, is_drawn, label, learning_charts, middle_speed, shown
from ssm_hpn.run_record import RunRecord, read_run, setting
from ssm_hpn.storage import write_whole

FILE: Final = "report.html"
TASKS: Final = {
    kind.name: "Language model" if kind.from_tokens else kind.about[0].upper() + kind.about[1:]
    for kind in targets.KINDS.values()
}
FOOTER: Final = "Made from config.toml, metrics.jsonl and the other files beside it. Make it again with"
AGAIN: Final = "python -m ssm_hpn report RUN"
MOST_HEAT: Final = 64
MOST_SAMPLES: Final = 6


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a run; returns its path."""
    path = folder / FILE
    write_whole(path, render(read_run(folder)))
    return path


def render(run: RunRecord) -> str:
    """The page."""
    badge, done = _badge(run)
    sections = [
        Section("", [Tiles(_headline(run)), *_about(run)]),
        Section("Against tables and compressors", _baselines(run)),
        Section("Learning", [] if run.fits_features else figures(map(page.chart, learning_charts(run)))),
        Section("What it writes", _samples(run)),
        Section("Classes", figures(_matrices(run), wide=True)),
        *decision_sections(run.decided),
        Section("Cost", [_stages(run)] if run.fits_features else figures(map(page.chart, cost_charts(run)))),
        Section("Results", _fitted_results(run) if run.fits_features else _results(run)),
        Section("Data", [Facts(run.data)] if run.data else []),
        Section("Configuration", [Code("config.toml", run.config_text.strip())] if run.config_text else []),
        Section("Machine and versions", _environment(run)),
    ]
    about = About(_description(run), badge, done=done, footer=FOOTER, again=AGAIN)
    return page.page(run.name, sections, command="report", about=about)


# ---- head of the page


def _badge(run: RunRecord) -> tuple[str, bool]:
    """How the run ended, and whether it came to its end."""
    step, total = run.last("step") or 0, setting(run.config, "train", "steps")
    done = total is None or step >= total
    state = f"{show(step)} {noun_for(step, 'update')}" if done else f"ended at update {show(step)} of {show(total)}"
    if run.fits_features:
        done = step > 0
        state = "fitted" if done else "interrupted"
    return f"{state} in {duration(run.last('time_s'))}", done


def _about(run: RunRecord) -> list[Block]:
    """Date, host and command of the run, and its data in a line, where the files say so."""
    about = [
        ("Began", run.environment.get("began")),
        ("Host", run.environment.get("host")),
        ("Command", run.environment.get("command")),
        ("Data", dict(run.data).get("documents")),
    ]
    entries = [(name, printable(str(value))) for name, value in about if value]
    return [Facts(entries)] if entries else []


def _description(run: RunRecord) -> str:
    """The model in a sentence."""
    model = run.config.get("model", {})
    what = TASKS.get(run.task or "", "Model")
    if run.fits_features:
        effort = (model.get("filters") or {}).get("effort", "default")
        return f"{what}: features of fixed state space filters, effort {effort}, with a head in closed form."
    entries = model.get("layers") or [model.get("block", {})]
    kinds = dict.fromkeys(entry if isinstance(entry, str) else entry.get("kind", "") for entry in entries)
    block = " and ".join(_title(parts.BLOCKS, kind) for kind in kinds)
    layers = model.get("n_layers", "?")
    said = [f"{layers} {block} {noun_for(layers, 'layer')} of width {model.get('d_model', '?')}"]
    head = model.get("head", {})
    if "kind" in head:
        n_classes = head.get("n_classes")
        count = "" if n_classes is None else f"{n_classes} "
        said.append(count + _title(parts.HEADS, head["kind"]))
    parameters = run.environment.get("parameters")
    if parameters:
        said.append(f"{show(parameters)} {noun_for(parameters, 'parameter')}")
    return f"{what}: {', '.join(said)}."


def _title(kinds: Mapping[str, parts.BlockKind] | Mapping[str, parts.HeadKind], name: str) -> str:
    """The core's title of a kind; a kind of another version goes by its name in the run's configuration."""
    return kinds[name].title if name in kinds else name


def _headline(run: RunRecord) -> list[tuple[str, str, str]]:
    entries = []
    where = _evaluated_on(run, complete=bool(run.complete))
    for metric in run.evaluated():
        value = run.result(metric, complete=bool(run.complete))
        if value is not None and is_drawn(metric):
            name = label(metric)
            about = where if run.fits_features else f"{where}, update {show(run.best_step)}"
            entries.append((name[:1].upper() + name[1:], shown(metric, value), about))
    if run.fits_features:
        fitted = f"training series, n\u00a0=\u00a0{show(run.last('data/series'))}"
        entries += [(f"{name[:1].upper()}{name[1:]}, each left out", text, fitted) for name, text in _left_out(run)]
    elif not entries:
        entries.append(("Training loss", show(run.last("train/loss")), "last update"))
    speed = middle_speed(run)
    if speed is not None:
        entries.append(("Speed", show(speed), "tokens/s, median"))
    memory = [float(v) for v in run.column("mem/rss_bytes") if v is not None]
    if memory:
        entries.append(("Memory", f"{max(memory) / 1e6:.0f} MB", "largest seen"))
    if run.has("data/tokens_seen"):
        epoch = run.last("epoch")
        entries.append(
            ("Tokens seen", show(run.last("data/tokens_seen")), f"{show(epoch)} {noun_for(epoch or 0, 'epoch')}")
        )
    return entries


def _evaluated_on(run: RunRecord, *, complete: bool) -> str:
    """The held-out data that values are of, with the number of targets where the files have it.

    Without all of it, "16 batches" says how much was looked at.
    """
    batches, count = setting(run.config, "evaluation", "batches"), run.targets(complete=complete)
    n = "" if count is None else f", n\u00a0=\u00a0{show(count)}"
    if complete or batches == "all":
        return f"all held-out data{n}"
    some = "" if batches is None else f", {counted(batches, 'batch', 'batches')}"
    return f"held out{some}{n}"


# ---- matrices


def _matrices(run: RunRecord) -> list[Figure]:
    found = []
    confusion = run.evaluation.get("confusion")
    if confusion and len(confusion) <= MOST_HEAT:
        names = _names(run, len(confusion))
        cells = [[_count(names, i, j, line) for j in range(len(line))] for i, line in enumerate(confusion)]
        total = show(sum(map(sum, confusion)))
        matrix = Matrix(names, cells, "class", "predicted")
        remark = f"counts, shaded by their share of the class, n\u00a0=\u00a0{total}{_at(run)}"
        found.append(Figure("Confusion", remark=remark, matrix=matrix))
    cosines = run.evaluation.get("prototype_cosines")
    if cosines and len(cosines) <= MOST_HEAT:
        away = [value for i, line in enumerate(cosines) for j, value in enumerate(line) if i != j]
        names = _names(run, len(cosines))
        low = min(away)
        cells = [
            [_cosine(names[i], names[j], value, (value - low) / max(1 - low, 1e-9)) for j, value in enumerate(line)]
            for i, line in enumerate(cosines)
        ]
        remark = f"largest between two classes {max(away):.3f}{_at(run)}"
        found.append(Figure("Prototype cosines", remark=remark, matrix=Matrix(names, cells, "class", "class")))
    return found


def _count(names: Sequence[str], row: int, column: int, line: Sequence[int]) -> Cell:
    count, total = line[column], sum(line)
    title = f"{names[row]} → {names[column]}: {count} of {total}"
    return Cell(str(count), count / max(total, 1), title)


def _cosine(row: str, column: str, value: float, share: float) -> Cell:
    return Cell(f"{value:.2f}", min(max(share, 0.0), 1.0), f"{row} → {column}: {value:.3g}")


def _at(run: RunRecord) -> str:
    step = run.evaluation.get("step")
    return "" if step is None or run.fits_features else f", update {show(step)}"


def _names(run: RunRecord, count: int) -> list[str]:
    names = run.evaluation.get("class_names")
    return [str(name) for name in names] if names and len(names) == count else [str(n) for n in range(count)]


# ---- tables


def _baselines(run: RunRecord) -> list[Block]:
    if not run.baselines or ACCURACY.name not in run.evaluated():
        return []
    bits, accuracy = (run.result(metric.name, complete=bool(run.complete)) for metric in (BITS, ACCURACY))
    names = [(_baseline_name(score), score[ACCURACY.name], score[BITS_PER_BYTE.name]) for score in run.baselines]
    accuracies = [(name, value, 6) for name, value, _ in names if value is not None]  # a compressor names no byte
    accuracies += [("this model", accuracy or 0.0, 1)]
    where = _evaluated_on(run, complete=bool(run.complete))
    entries = [_bars("Next byte right", accuracies, Axis("held-out accuracy, larger is better", percent=True), where)]
    if bits is not None:
        costs = [(name, value, 6) for name, _, value in names] + [("this model", bits, 1)]
        entries.append(_bars("Bits per byte", costs, Axis("held-out bits per byte, smaller is better"), where))
    return figures(entries)


def _bars(caption: str, entries: Sequence[tuple[str, float, int]], axis: Axis, remark: str) -> Figure:
    return Figure(caption, drawn(lambda: plots.bars(entries, axis=axis), caption), remark)


def _baseline_name(score: Mapping[str, Any]) -> str:
    """The stored name; runs of earlier releases have the order of a table alone."""
    order = score["order"]
    named = score.get("name") or {1: "unigram", 2: "bigram", 3: "trigram"}.get(order, f"{order}-gram")
    return str(named)


def _samples(run: RunRecord) -> list[Block]:
    if not run.samples:
        return []
    count = len(run.samples)
    chosen = sorted(
        {round(i * (count - 1) / max(min(MOST_SAMPLES, count) - 1, 1)) for i in range(min(MOST_SAMPLES, count))}
    )
    samples = (run.samples[index] for index in chosen)
    return [Samples([(show(one.get("step")), _shown_text(one, "prompt"), _shown_text(one, "text")) for one in samples])]


def _shown_text(sample: dict[str, Any], key: str) -> str:
    return printable(str(sample.get(key, "")))


def _results(run: RunRecord) -> list[Block]:
    """Metrics before training, at the update that is kept, and at the last one; each column is one update."""
    evaluated = [
        row["step"] for row in run.rows if any(row.get(f"eval/{name}") is not None for name in run.evaluated())
    ]
    steps = list(dict.fromkeys([run.rows[0]["step"], run.best_step, evaluated[-1] if evaluated else run.last("step")]))
    steps = [step for step in steps if step is not None]
    complete = bool(run.complete)
    rows = []
    for metric in run.evaluated():
        texts = [shown(metric, run.at(step, f"eval/{metric}")) for step in steps]
        more = [shown(metric, run.result(metric, complete=True))] if complete else []
        rows.append([f"held-out {label(metric)}", *texts, *more])
    others = [
        *((f"train/{metric.name}", f"training {metric.title}") for metric in AT_UPDATES),
        ("head/max_prototype_cosine", "largest prototype cosine"),
        ("skipped_steps", "updates skipped (not finite)"),
    ]
    for key, name in others:
        if run.has(key):
            texts = [shown(key.rpartition("/")[2], run.at(step, key)) for step in steps]
            rows.append([name, *texts, *([""] if complete else [])])
    header = [_column(run, step) for step in steps]
    more = [f"{_evaluated_on(run, complete=True)}, update {show(run.best_step)}"] if complete else []
    during = _evaluated_on(run, complete=False)
    about = [Text(f"Evaluations during training: {during}.")] if run.evaluated() else []
    return [*about, Table(["", *header, *more], rows), *_each_number(run)]


def _fitted_results(run: RunRecord) -> list[Block]:
    """Held-out metrics, and those of training series that are left out one by one."""
    found = run.complete or {"metrics": {name: run.last(f"eval/{name}") for name in run.evaluated()}}
    rows = [[f"held-out {label(name)}", shown(name, value)] for name, value in found["metrics"].items()]
    rows += [[f"{name}, each training series left out", text] for name, text in _left_out(run)]
    return [Table(["", f"{_evaluated_on(run, complete=True)}"], rows), *_each_number(run)]


def _each_number(run: RunRecord) -> list[Block]:
    """A table of the numbers to predict, where there are several."""
    numbers = number_rows(run.complete)
    return [Heading("Each number"), Table(number_header(run.complete), numbers)] if numbers else []


def _left_out(run: RunRecord) -> list[tuple[str, str]]:
    """The metrics of training series that are left out one by one, in words and in their format."""
    names = [key.partition("/")[2] for key in run.rows[0] if key.startswith("left_out/")]
    pairs = ((name, run.last(f"left_out/{name}")) for name in names)
    return [(label(name), shown(name, value)) for name, value in pairs if value is not None]


def _stages(run: RunRecord) -> Table:
    """Time and memory of the stages of a fit."""
    rows = [
        [
            str(row.get("stage", "")),
            f"{row.get('stage_s') or 0:.2f} s",
            f"{(row.get('mem/rss_bytes') or 0) / 1e6:.0f} MB",
        ]
        for row in run.rows
    ]
    return Table(["stage", "time", "memory"], rows)


def _column(run: RunRecord, step: Number) -> str:
    """Heading of the values at one update."""
    if step == run.best_step and step:
        return f"update {show(step)}, kept"
    return f"update {show(step)}" if step else "before training"


def _environment(run: RunRecord) -> list[Block]:
    """Flat values by name; those of a group as group.name."""
    flat: list[tuple[str, str]] = []
    for key, value in run.environment.items():
        if isinstance(value, dict):
            flat += [(f"{key}.{name}", str(inner)) for name, inner in value.items()]
        else:
            flat.append((key, str(value)))
    return [Facts(flat)] if flat else []
