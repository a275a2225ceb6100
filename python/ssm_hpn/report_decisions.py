"""The part of a run's page about single decisions: mistakes, typical series, evidence, calibration, rejection."""

from collections.abc import Sequence
from typing import Final, Literal

from ssm_hpn import plots
from ssm_hpn.counts import counted
from ssm_hpn.curves import Axis, Curve, short, show
from ssm_hpn.decisions import Decisions, Picture
from ssm_hpn.drawing import drawn
from ssm_hpn.metrics import ACCURACY
from ssm_hpn.page import Figure, Heading, Section, Table, Text, chart, figures
from ssm_hpn.printable import on_one_line
from ssm_hpn.run_curves import Chart

ANSWERED: Final = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of answered series in the table of thresholds."""
EVIDENCE: Final = (
    "The strip below a series says where its decision comes from: what each step contributes to the score of the class "
    "that was predicted, less what it contributes to the class that it is compared with, as a mean over a 24th of it."
)


def decision_sections(decisions: Decisions | None) -> list[Section]:
    """Sections of the page; none without the file."""
    if decisions is None:
        return []
    names = [on_one_line(name) for name in decisions.classes]
    wrong = decisions.count - decisions.right
    shown = len(decisions.mistakes)
    series = counted(decisions.count, "held-out series", "held-out series")
    some = f" of {decisions.out_of}" if decisions.out_of > decisions.count else ""
    lead = f"{counted(wrong, 'mistake')} among {series}{some}"
    which = f"{lead}; the {shown} whose own class was least probable" if wrong > shown > 0 else lead
    about = [f"{which}. {EVIDENCE if _has_evidence(decisions) else decisions.note or ''}".rstrip()]
    mistakes = figures(_picture(one, names) for one in decisions.mistakes)
    typical = figures(_picture(one, names) for one in decisions.typical)
    sections = [Section("The worst mistakes" if wrong else "Mistakes", [*map(Text, about), *mistakes])]
    if typical:
        text = "Of each class a series that was recognised with middling probability, beside the next best class."
        sections.append(Section("Typical series", [Text(text), *typical]))
    curves = figures([_calibration(decisions), _reject(decisions)])
    blocks = [*curves, Heading("Thresholds"), _thresholds(decisions)]
    return [*sections, Section("Calibration and rejection", blocks)]


def _has_evidence(decisions: Decisions) -> bool:
    return any(one.evidence for one in decisions.pictures)


def _picture(picture: Picture, names: Sequence[str]) -> Figure:
    predicted, against = names[picture.predicted], names[picture.against]
    chance = f"{100 * picture.probability:.0f} %"
    if picture.label != picture.predicted:
        own = f"{100 * picture.probability_of_label:.0f} %"
        remark = f"{short(names[picture.label], 40)} ({own}) taken for {short(predicted, 40)} ({chance})"
    else:
        remark = f"{short(predicted, 40)} ({chance})"
    if picture.n_channels > len(picture.channels) > 0:
        remark += f"; the first {len(picture.channels)} of {counted(picture.n_channels, 'channel')}"
    svg = drawn(lambda: plots.series(picture), f"series {picture.name}")
    caption = short(on_one_line(picture.name), 48)
    if not picture.evidence:
        return Figure(caption, svg, remark)
    values, width = plots.evidence_of(picture)
    each = "a step" if picture.steps == len(values) else f"1/{len(values)} of the series"
    around = f", the mean of {width} around it" * (width > 1)
    note = f"full colour: {show(max(map(abs, values)))} of the score in {each}{around}"
    key = [(2, f"for {short(predicted, 40)}"), (1, f"for {short(against, 40)}")]
    return Figure(caption, svg, remark, key=key, note=note)


def _calibration(decisions: Decisions) -> Figure:
    found = decisions.calibration
    before = ""
    if found.before is not None:
        here = " to these series" if found.fitted_here else ""
        before = f" ({100 * found.before:.1f} % before the temperature was fitted{here})"
    remark = (
        f"expected error {100 * found.expected_error:.1f} %{before}, Brier score {show(found.brier)}, "
        f"log loss {show(found.log_loss)}, n = {decisions.count}"
    )
    return Figure("Calibration", drawn(lambda: plots.reliability(found.bins), "calibration"), remark)


def _reject(decisions: Decisions) -> Figure:
    reject = decisions.reject
    style: Literal["line", "points"] = "points" if len(reject.answered) < 30 else "line"
    curve = Curve("held out", reject.answered, reject.accuracy, 1, style)
    return chart(
        Chart(
            "Accuracy of the answers",
            [curve],
            Axis("share of the series that are answered", percent=True),
            Axis(ACCURACY.title, percent=True),
            f"the least sure series left unanswered, n = {decisions.count}",
        )
    )


def _thresholds(decisions: Decisions) -> Table:
    """For some shares the highest threshold that answers as many."""
    rows, seen, reject = [], set(), decisions.reject
    for share in ANSWERED:
        place = max((k for k, answered in enumerate(reject.answered) if answered >= share * (1 - 1e-9)), default=0)
        if place not in seen:
            seen.add(place)
            answered = round(reject.answered[place] * decisions.count)
            rows.append(
                [
                    _share(reject.answered[place], decisions.count),
                    _share(reject.accuracy[place], answered),
                    f"{reject.thresholds[place]:.4g}",
                ]
            )
    return Table(["answered", "accuracy of the answers", "reject_below"], rows)


def _share(share: float, count: int) -> str:
    """A share in percent, with the counts behind it.

    >>> _share(0.5, 70)
    '50.0 % (35 of 70)'
    """
    return f"{100 * share:.1f} % ({round(share * count)} of {count})"
