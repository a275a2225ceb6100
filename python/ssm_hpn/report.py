"""`report.html`: one file that needs no network, made from the other files of a run's folder alone, at any time.

config.toml and metrics.jsonl are needed; environment.json, evaluation.json (confusion matrix), summary.json (metrics on
all held-out data), decisions.json (single decisions of a classifier of sequences), baselines.json (tables fitted to the
same bytes) and samples.jsonl (continuations of a prompt) are shown where they are. The same files give the same bytes:
nothing here looks at the clock.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

from ssm_hpn import page, parts, targets
from ssm_hpn.counts import noun_for
from ssm_hpn.evaluation import number_header, number_rows
from ssm_hpn.metrics import ACCURACY, AT_UPDATES, BITS, BITS_PER_BYTE, LOSS, METRICS
from ssm_hpn.printable import printable
from ssm_hpn.report_decisions import decision_sections
from ssm_hpn.run_record import RunRecord, is_finite, read_run, setting
from ssm_hpn.storage import write_whole
from ssm_hpn.svg import Axis, Curve, Number, bar_chart, heat_map, line_chart, show, smooth

FILE = "report.html"
STEPS = Axis("updates")
TASKS = {
    kind.name: "Language model" if kind.from_tokens else kind.about[0].upper() + kind.about[1:]
    for kind in targets.KINDS.values()
}
FOOTER = (
    "<footer>Made from config.toml, metrics.jsonl and the other files beside it. "
    "Make it again with <code>python -m ssm_hpn report RUN</code>.</footer>"
)
MOST_HEAT = 64
MOST_SAMPLES = 6


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a run; returns its path."""
    path = folder / FILE
    write_whole(path, render(read_run(folder)))
    return path


def render(run: RunRecord) -> str:
    """The page."""
    return page.page(
        f"{run.name} · ssm-hpn",
        [
            _header(run),
            page.tiles(_headline(run)),
            page.section("Against tables of the same bytes", _baselines(run)),
            page.section("Learning", "" if run.fits_features else page.charts(_learning_charts(run))),
            page.section("What it writes", _samples(run)),
            page.section("Classes", page.charts(_class_charts(run))),
            *decision_sections(run.decided),
            page.section("Cost", _stages(run) if run.fits_features else page.charts(_cost_charts(run))),
            page.section("Results", _fitted_results(run) if run.fits_features else _results(run)),
            page.section("Configuration", _configuration(run)),
            page.section("Machine and versions", _environment(run)),
            FOOTER,
        ],
        command="report",
    )


# ---- head of the page


def _header(run: RunRecord) -> str:
    step, total = run.last("step") or 0, setting(run.config, "train", "steps")
    done = total is None or step >= total
    state = f"{show(step)} {noun_for(step, 'update')}" if done else f"ended at update {show(step)} of {show(total)}"
    if run.fits_features:
        done = step > 0
        state = "fitted" if done else "interrupted"
    kind = "badge" if done else "badge warn"
    return (
        f'<h1>{escape(run.name)}</h1>\n<p class="lead">{escape(_description(run))} '
        f'<span class="{kind}">{escape(state)} in {escape(duration(run.last("time_s")))}</span></p>'
    )


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
    where = "all held-out data" if run.complete else "held out"
    for metric in run.evaluated():
        value = run.result(metric, complete=bool(run.complete))
        if value is not None and _is_drawn(metric):
            name = label(metric)
            about = where if run.fits_features else f"{where}, update {show(run.best_step)}"
            entries.append((name[:1].upper() + name[1:], shown(metric, value), about))
    if run.fits_features:
        entries += [
            (f"{name[:1].upper()}{name[1:]}, each left out", text, "training series") for name, text in _left_out(run)
        ]
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


# ---- charts


def _learning_charts(run: RunRecord) -> list[str]:
    steps = run.column("step")
    unit = "nats" if BITS.name in run.evaluated() else ""
    figures = []
    for metric in AT_UPDATES:
        train = run.column(f"train/{metric.name}")
        held_out = run.column(f"eval/{metric.name}") if metric.name in run.evaluated() else []
        curves = []
        if any(is_finite(value) for value in train):
            curves = [Curve("each", steps, train, 1, "faint"), Curve("training", steps, smooth(train), 1)]
        if any(is_finite(value) for value in held_out):
            curves.append(Curve("held out", steps, held_out, 2, "points"))
        if curves:
            axis = Axis(metric.title, unit if metric is LOSS else "", percent=metric.percent)
            chart = line_chart(curves, x=STEPS, y=axis, title=metric.title)
            figures.append(page.figure(metric.title.capitalize(), chart))
    at_updates = [metric.name for metric in AT_UPDATES]
    for name in run.evaluated():
        if name not in at_updates and _is_drawn(name) and run.has(f"eval/{name}"):
            curves = [Curve("held out", steps, run.column(f"eval/{name}"), 2, "points")]
            axis = axis_of(name)
            chart = line_chart(curves, x=STEPS, y=axis, title=axis.label)
            figures.append(page.figure(axis.label[:1].upper() + axis.label[1:], chart, "held out"))
    figures.append(_figure(run, "train/lr", "Learning rate", Axis("learning rate", zero=True)))
    norms = [float(v) for v in run.column("train/grad_norm") if v is not None and isfinite(v) and v > 0]
    wide = bool(norms) and max(norms) > 30 * min(norms)
    figures.append(_figure(run, "train/grad_norm", "Gradient norm", Axis("norm", log=wide), "before clipping"))
    figures.append(_figure(run, "train/update_norm", "Update norm", Axis("norm", zero=True)))
    return figures


def _cost_charts(run: RunRecord) -> list[str]:
    memory = [None if value is None else value / 1e6 for value in run.column("mem/rss_bytes")]
    return [
        _figure(run, "perf/tokens_per_second", "Throughput", Axis("throughput", "tokens/s", zero=True), first=1),
        _figure(run, "perf/step_ms", "Time of an update", Axis("time", "ms", zero=True), first=1),
        _figure(run, "perf/data_ms", "Waiting for data", Axis("time per update", "ms", zero=True), first=1),
        _figure(run, "mem/rss_bytes", "Memory of the process", Axis("memory", "MB", zero=True), values=memory),
    ]


def _figure(
    run: RunRecord,
    key: str,
    caption: str,
    axis: Axis,
    remark: str = "",
    *,
    first: int = 0,
    values: Sequence[Number] | None = None,
) -> str:
    """One column over the updates; nothing if it has no numbers."""
    if not run.has(key):
        return ""
    column = run.column(key) if values is None else values
    curve = Curve(caption, run.column("step")[first:], column[first:], 1)
    return page.figure(caption, line_chart([curve], x=STEPS, y=axis, title=caption), remark)


def _class_charts(run: RunRecord) -> list[str]:
    figures = []
    confusion = run.evaluation.get("confusion")
    if confusion and len(confusion) <= MOST_HEAT:
        names = _names(run, len(confusion))
        shares = [[100 * n / max(sum(line), 1) for n in line] for line in confusion]
        chart = heat_map(shares, names=names, title="confusion", axes=("class", "predicted"), low=0, high=100)
        figures.append(page.figure("Confusion", chart, f"percent of each class{_at(run)}"))
    cosines = run.evaluation.get("prototype_cosines")
    if cosines and len(cosines) <= MOST_HEAT:
        away = [value for i, line in enumerate(cosines) for j, value in enumerate(line) if i != j]
        names = _names(run, len(cosines))
        chart = heat_map(
            cosines, names=names, title="prototypes", axes=("class", "class"), low=min(away), high=1, decimals=2
        )
        figures.append(
            page.figure("Prototype cosines", chart, f"largest between two classes {max(away):.3f}{_at(run)}")
        )
    return figures


def _at(run: RunRecord) -> str:
    step = run.evaluation.get("step")
    return "" if step is None or run.fits_features else f", update {show(step)}"


def _names(run: RunRecord, count: int) -> list[str]:
    names = run.evaluation.get("class_names")
    return [str(name) for name in names] if names and len(names) == count else [str(n) for n in range(count)]


# ---- tables


def _baselines(run: RunRecord) -> str:
    if not run.baselines or ACCURACY.name not in run.evaluated():
        return ""
    bits, accuracy = (run.result(metric.name, complete=bool(run.complete)) for metric in (BITS, ACCURACY))
    names = [(_table_name(score["order"]), score[ACCURACY.name], score[BITS_PER_BYTE.name]) for score in run.baselines]
    accuracies = [(name, value, 6) for name, value, _ in names] + [("this model", accuracy or 0.0, 1)]
    figures = [
        page.figure(
            "Next byte right",
            bar_chart(accuracies, axis=Axis("held-out accuracy, larger is better", percent=True), title=ACCURACY.title),
        )
    ]
    if bits is not None:
        costs = [(name, value, 6) for name, _, value in names] + [("this model", bits, 1)]
        axis = Axis("held-out bits per byte, smaller is better")
        figures.append(page.figure("Bits per byte", bar_chart(costs, axis=axis, title=BITS_PER_BYTE.title)))
    return page.charts(figures)


def _table_name(order: int) -> str:
    return {1: "unigram", 2: "bigram", 3: "trigram"}.get(order, f"{order}-gram")


def _samples(run: RunRecord) -> str:
    if not run.samples:
        return ""
    count = len(run.samples)
    chosen = sorted(
        {round(i * (count - 1) / max(min(MOST_SAMPLES, count) - 1, 1)) for i in range(min(MOST_SAMPLES, count))}
    )
    rows = [
        f'<div class="sample"><span>update {escape(show(sample.get("step")))}</span>'
        f"<pre><mark>{_shown_text(sample, 'prompt')}</mark>{_shown_text(sample, 'text')}</pre></div>"
        for sample in (run.samples[index] for index in chosen)
    ]
    return f'<div class="card">{"".join(rows)}</div>'


def _shown_text(sample: dict[str, Any], key: str) -> str:
    return escape(printable(str(sample.get(key, ""))))


def _results(run: RunRecord) -> str:
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
    whole = page.table(["", *header, *([f"all held-out data, update {show(run.best_step)}"] if complete else [])], rows)
    numbers = number_rows(run.complete)
    return whole + (page.heading("Each number") + page.table(number_header(run.complete), numbers) if numbers else "")


def _fitted_results(run: RunRecord) -> str:
    """Held-out metrics, and those of training series that are left out one by one."""
    found = run.complete or {"metrics": {name: run.last(f"eval/{name}") for name in run.evaluated()}}
    rows = [[f"held-out {label(name)}", shown(name, value)] for name, value in found["metrics"].items()]
    rows += [[f"{name}, each training series left out", text] for name, text in _left_out(run)]
    whole = page.table(["", "value"], rows)
    numbers = number_rows(run.complete)
    return whole + (page.heading("Each number") + page.table(number_header(run.complete), numbers) if numbers else "")


def _left_out(run: RunRecord) -> list[tuple[str, str]]:
    """The metrics of training series that are left out one by one, in words and in their format."""
    names = [key.partition("/")[2] for key in run.rows[0] if key.startswith("left_out/")]
    pairs = ((name, run.last(f"left_out/{name}")) for name in names)
    return [(label(name), shown(name, value)) for name, value in pairs if value is not None]


def _stages(run: RunRecord) -> str:
    """Time and memory of the stages of a fit."""
    rows = [
        [
            str(row.get("stage", "")),
            f"{row.get('stage_s') or 0:.2f} s",
            f"{(row.get('mem/rss_bytes') or 0) / 1e6:.0f} MB",
        ]
        for row in run.rows
    ]
    return page.table(["stage", "time", "memory"], rows)


def _column(run: RunRecord, step: Number) -> str:
    """Heading of the values at one update."""
    if step == run.best_step and step:
        return f"update {show(step)}, kept"
    return f"update {show(step)}" if step else "before training"


def _configuration(run: RunRecord) -> str:
    if not run.config_text:
        return ""
    text = escape(run.config_text.strip())
    return f'<div class="card"><details open><summary>config.toml</summary><pre>{text}</pre></details></div>'


def _environment(run: RunRecord) -> str:
    """Flat values by name; those of a group as group.name."""
    flat: list[tuple[str, str]] = []
    for key, value in run.environment.items():
        if isinstance(value, dict):
            flat += [(f"{key}.{name}", str(inner)) for name, inner in value.items()]
        else:
            flat.append((key, str(value)))
    return page.facts(flat) if flat else ""


# ---- helpers


def label(metric: str) -> str:
    """A metric's name in words; the name itself of a metric that this version does not have."""
    known = METRICS.get(metric)
    return known.title if known else metric


def axis_of(metric: str) -> Axis:
    """The axis of a chart of a metric."""
    known = METRICS.get(metric)
    return Axis(label(metric), percent=known is not None and known.percent)


def _is_drawn(metric: str) -> bool:
    known = METRICS.get(metric)
    return known is None or known.drawn


def middle_speed(run: RunRecord) -> float | None:
    """Median of the tokens per second; the first row, which is no update, left out."""
    speeds = sorted(float(v) for v in run.column("perf/tokens_per_second")[1:] if v is not None and isfinite(v))
    return speeds[len(speeds) // 2] if speeds else None


def shown(metric: str, value: Number) -> str:
    """A metric's value in its format."""
    return show(value, axis_of(metric)) if value is not None else "–"


def duration(seconds: Number) -> str:
    """Seconds with a unit."""
    if seconds is None:
        return "unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
