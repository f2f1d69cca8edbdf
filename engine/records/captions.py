"""What is written beside a picture: class, score, and how exactly a method sums."""

from __future__ import annotations

from collections.abc import Sequence

from ...graph_passes.methods import find_method
from ...models.text import counted, part_text, shown
from ..pictures.lettering import drawable
from ..pictures.overlay import Texts
from ..running.answers import MODEL, SIGMOID, SOFTMAX, Top, percent
from ..running.settings import DOUBTFUL
from .record import Outcome

# A space at which no line is broken.
_HELD = "\N{NO-BREAK SPACE}"
# What the bars of a page are, by where probabilities come from.
SCALES = {
    MODEL: "the model's own probability",
    SOFTMAX: "probability, the softmax of the scores",
    SIGMOID: "probability, the sigmoid of the score",
}
# A sum that misses less is said to be complete.
EXACT = 1e-4


def target_name(record: Outcome) -> str:
    """The target in words: its label, or its index."""
    return record.target.words


def drawn_target(record: Outcome) -> str:
    """The target in words that a picture can show: its index where no font has its label."""
    name = target_name(record)
    return name if drawable(name) else record.target.index_words


def drawn_score(record: Outcome) -> str:
    """The target's probability, or where none is known its score, behind a picture's title."""
    return f"·{_HELD}{value_text(record)}"


def value_text(record: Outcome) -> str:
    """The target's probability or score, in words that stay on one line; of a similarity it."""
    if record.target.versus is not None:
        return number_text(record.score, ".2f")
    return score_text(record.probability, record.score)


def score_text(probability: float | None, score: float | None) -> str:
    """A probability, or where none is known the score, in words that stay on one line."""
    text = f"score {number_text(score, '.2f')}" if probability is None else percent(probability)
    return text.replace(" ", _HELD)


def answer_text(record: Outcome, most: int = 3) -> str:
    """What the model answered: "espresso 91 % · cup 5 % · soup bowl 1 % (softmax)".

    Probabilities that are made of scores are named after how; where there are none, scores stand
    there. Empty where the model has no score for each class, and in records of earlier versions.
    """
    return _listed(record, record.top[:most])


def drawn_answer(record: Outcome) -> str:
    """What the model answered beside a picture's title: what comes next, or what comes first."""
    top = record.top[:3]
    if top and _is_best(record, top[0]):
        text = f"then {_listed(record, top[1:])}" if len(top) > 1 else ""
    else:
        text = f"best: {_listed(record, top)}" if top else ""
    text = text.replace(" %", f"{_HELD}%")
    return text if drawable(text) else ""


def _is_best(record: Outcome, top: Top) -> bool:
    """Whether what is explained is the best class, and nothing else."""
    return record.target.key == str(top.index)


def _listed(record: Outcome, classes: Sequence[Top]) -> str:
    how = record.probability_from
    made = f" ({how})" if classes and how in (SOFTMAX, SIGMOID) else ""
    close = ", close call" if record.close_call else ""
    return f"{' · '.join(map(class_answer, classes))}{made}{close}"


def heading(record: Outcome) -> str:
    """The answer, and what of it is explained, for people to read on one line."""
    score = f"score {number_text(record.score, '.3f')}"
    answer, top = answer_text(record), record.top
    if not answer:
        if record.target.versus is not None:
            return f"{target_name(record)}: {number_text(record.score, '.3f')}"
        box = box_text(record)
        where = f" at {box}" if box else ""
        return f"{target_name(record)}{_chance_text(record)}{where}, {score}"
    if _is_best(record, top[0]) and len(top) > 1:
        return f"{answer}, {score}"
    return f"{answer}; explained: {target_name(record)}{_chance_text(record)}, {score}"


def _chance_text(record: Outcome) -> str:
    chance = record.probability
    return "" if chance is None else f" {percent(chance)}"


def box_text(record: Outcome) -> str:
    """Where a box is, in words: its corners in the photo's pixels; empty where there is none."""
    if not record.target.box:
        return ""
    corners = ", ".join(f"{number:.0f}" for number in record.target.box)
    return f"{corners} ({record.target.name})"


def evidence_text(record: Outcome) -> str:
    """What hiding a map's strongest places did, in words; empty where it was not tried."""
    found = record.evidence
    if not found or found.before is None:
        return ""
    is_chance = found.of == "probability"
    before, after = (
        percent(value) if is_chance else number_text(value, ".3g")
        for value in (found.before, found.after)
    )
    name = short_name(target_name(record))
    where = f"Hiding the strongest {100 * found.part:.0f} % of the {found.what}"
    change = f"{name}: from {before} to {after}"
    if found.after >= found.before:
        return f"{where} does not lower {change}"
    if not is_chance:
        return f"{where} lowers {change}"
    if found.after < found.before / 2:
        return f"{where} drops {name} from {before} to {after}"
    much = "hardly lowers" if found.after > 0.9 * found.before else "lowers"
    return f"{where} {much} {change}"


def strongest_text(record: Outcome) -> str:
    """The words or columns that count most, in words; empty where they have no names."""
    parts = [f"{shown(name[:40])} {value:+.3g}" for name, value in record.strongest]
    return f"strongest: {', '.join(parts)}" if parts else ""


def class_answer(one: Top) -> str:
    """One of the best classes: "espresso 96 %", or with its score where no probability is known."""
    name = short_name(one.label) if one.label else one.words
    return f"{name} {class_value(one.probability, one.score)}"


def class_value(probability: float | None, score: float | None) -> str:
    """A class's probability, or its score where none is known."""
    return number_text(score, ".3g") if probability is None else percent(probability)


def short_name(label: str) -> str:
    """A label's first name: "tabby" of "tabby, tabby cat"."""
    return label.split(",")[0].strip() or label


def subtitle_of(record: Outcome, empty: bool = False) -> str:
    """The method and how exactly it sums, as a picture's subtitle says them.

    Args:
        record: what came out.
        empty: whether the attribution is 0 everywhere.
    """
    box = box_text(record)
    where = [f"box {box}"] if box else []
    return " · ".join([find_method(record.method).title, *where, *exactness(record, empty)])


def texts_of(record: Outcome, empty: bool = False) -> Texts:
    """All that stands around a record's picture; `empty`: see `subtitle_of`."""
    return Texts(
        title=drawn_target(record),
        subtitle=subtitle_of(record, empty),
        keep=drawn_score(record),
        answer=drawn_answer(record),
        evidence=evidence_text(record),
        box=record.target.box_in_view,
    )


def exactness(record: Outcome, empty: bool = False) -> list[str]:
    """What there is to say of how a map was made and how exactly it sums; as `subtitle_of`."""
    method = find_method(record.method)
    parts = []
    if empty:
        what = "class" if record.target.versus is None else "similarity"
        parts.append(f"empty map: nothing speaks for this {what}")
    if record.feature_map is not None:
        parts.append(f"feature map {record.feature_map}")
    if record.damage:
        parts.append(record.damage)
    if record.doubt:
        parts.append(record.doubt)
    if record.steps is not None:
        parts.append(counted(record.steps, "step"))
    if method.takes("baseline") and method.sums_to is not None:
        parts.append(f"baseline score {number_text(record.baseline_score, '.2f')}")
    exact = delta_text(record)
    return [*parts, exact] if exact else parts


def delta_text(record: Outcome) -> str:
    """Delta, and in percent of what was to be explained, where the method owes a sum.

    "complete (< 0.01 %)", "complete to 0.9 %, map good to 8 %".
    """
    error = record.map_error
    good = [] if error is None else [f"map good to {100 * error:.2g} %"]
    return ", ".join([*_sum_texts(record), *good])


def _sum_texts(record: Outcome) -> list[str]:
    """How exactly a map sums, where its method owes a sum."""
    method, relative = find_method(record.method), record.relative_delta
    if method.sums_to is None:
        return []
    delta = f"delta {number_text(record.delta, '.2g')}"
    if relative is None:
        return [delta]
    if not method.owes:
        return [f"no exact sum is promised ({small_part(relative)} off)"]
    if relative > DOUBTFUL:
        return [f"{delta} ({small_part(relative)})", "much is missing"]
    text = small_part(relative)
    return [f"complete ({text})" if relative < EXACT else f"complete to {text}"]


def small_part(part: float) -> str:
    """A part in percent, of two digits: "0.9 %", "< 0.01 %"."""
    if part < EXACT:
        return "< 0.01 %"
    return part_text(part)


def number_text(value: float | None, form: str) -> str:
    """The number as a text; JSON's stand-in for NaN and infinity is said in words."""
    return "not finite" if value is None else format(value, form)
