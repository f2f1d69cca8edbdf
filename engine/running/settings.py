"""How an explainer was asked to work, checked and with its defaults."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ... import InvalidInputError
from ...graph_passes.graph.limits import Limits, within
from ...graph_passes.methods import find_method, methods
from ...graph_passes.methods.method import Method, Option
from ...graph_passes.select.subject import Subject

logger = logging.getLogger("onnxplain")
# The arguments that every explainer has; a method leaves those of others alone, so that one call
# serves several methods.
# A sum that misses more than this part of the score's difference is said.
DOUBTFUL = 0.05
_BOOLS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
NAMED = ("layer", "baseline", "steps", "tolerance", "quadrature", "rule")


class Settings(NamedTuple):
    """How an explainer was asked to work.

    Attributes:
        method: its record.
        options: the method's, checked and with their defaults, but for the baseline.
        providers: see `open_session`.
        threads: see `open_session`.
    """

    method: Method
    options: Mapping[str, Any]
    providers: str | Sequence[str] | None
    threads: int | None


def settings_of(
    method: str,
    named: Mapping[str, Any],
    options: Mapping[str, Any],
    providers: str | Sequence[str] | None,
    threads: int | None,
) -> Settings:
    """The settings of what `Explainer` was given.

    Args:
        method: its name.
        named: those of `NAMED`. Only a tolerance that nobody keeps is refused.
        options: the method's own.
        providers: see `open_session`.
        threads: see `open_session`.

    Raises:
        InvalidInputError: a wrong argument.
    """
    found, options = find_method(method).composed(options)
    for name in ("device", "provider"):
        if name in options:
            raise InvalidInputError(
                f"{name}= is no argument: providers= says where ONNX Runtime runs "
                f'("auto", "cpu", "cuda" or its own names), got {options[name]!r}'
            )
    if named.get("tolerance") is not None and not found.takes("tolerance"):
        raise InvalidInputError(f"a tolerance is for integrated-gradients, not for {method}")
    own = {name: value for name, value in named.items() if found.takes(name)}
    for name, value in named.items():
        if value is not None and name not in own:
            _check_for_others(name, value)
    return Settings(found, found.chosen({**own, **options}), providers, threads)


def names_of_maps(settings: Settings, subject: Subject) -> tuple[str | None, str | None]:
    """The tensors whose places are explained, by name, and why a map may lie elsewhere.

    Warns of what is wrong with them.
    """
    if settings.method.feature_maps is None:
        return None, None
    found = settings.method.feature_maps(subject, settings.options)
    for one in found:
        if one.warning is not None:
            logger.warning(one.warning)
    doubt = next((one.doubt for one in found if one.doubt is not None), None)
    return ", ".join(one.tensor.name for one in found), doubt


def _check_for_others(name: str, value: Any) -> None:
    """Refuse a value that no method would take."""
    errors = []
    for method in methods().values():
        for option in method.options:
            if option.name == name:
                try:
                    option.check(value)
                    return
                except InvalidInputError as error:
                    errors.append(error)
    raise errors[0]


def method_names() -> list[str]:
    """Every method's name, as the command line offers them."""
    return list(methods())


def check_method(name: str) -> None:
    """Refuse a name that no method has, and options behind it that it does not take.

    Raises:
        InvalidInputError: with the nearest names.
    """
    asked_methods([name])


def asked_methods(texts: Sequence[str]) -> tuple[tuple[str, ...], dict[str, dict[str, Any]]]:
    """The methods that texts such as "ig" or "lrp:rule=epsilon,epsilon=0.01" name.

    Returns:
        Their names, and for each that has options of its own there, those.

    Raises:
        InvalidInputError: no such method or option, a wrong value, or options of one given twice.
    """
    own: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, _, rest = text.partition(":")
        parts = [part for part in rest.split(",") if part.strip()]
        method, parts = _composed(find_method(name), parts)
        given = dict(_option_of(method, part) for part in parts)
        if own.setdefault(method.name, given) != given:
            raise InvalidInputError(
                f"{method.name}: expected one choice of its options, got two; run the command once "
                "for each"
            )
    return tuple(own), {name: given for name, given in own.items() if given}


def _composed(method: Method, parts: Sequence[str]) -> tuple[Method, list[str]]:
    """The record that "of=deeplift" among a method's options asks for, and the other ones."""
    own = {part.partition("=")[0].strip(): part for part in parts}
    if "of" not in own or method.of is None:
        return method, [*parts]
    found, _ = method.composed({"of": own["of"].partition("=")[2].strip()})
    return found, [part for part in parts if part is not own["of"]]


def _option_of(method: Method, text: str) -> tuple[str, Any]:
    """An option's name and value of "epsilon=0.01"."""
    name, equals, value = (part.strip() for part in text.partition("="))
    option = next((one for one in method.options if one.name == name.replace("-", "_")), None)
    if option is None or not equals:
        takes = ", ".join(f"{one.name}=" for one in method.options) or "none"
        raise InvalidInputError(f"{method.name}: expected options of {takes}, got {text.strip()!r}")
    try:
        read = _BOOLS[value.lower()] if option.kind is bool else option.kind(value)
    except (ValueError, KeyError):
        kind = {int: "a whole number", float: "a number", bool: "true or false"}[option.kind]
        raise InvalidInputError(f"{method.name}: {name}: expected {kind}, got {value!r}") from None
    return option.name, option.check(read)


def for_methods(
    names: Sequence[str], given: Mapping[str, Any], left_alone: Collection[str] = NAMED
) -> dict[str, Any]:
    """The options that were given and that one of some methods takes; None is not given.

    Raises:
        InvalidInputError: one that none of them takes, but for those that are `left_alone`.
    """
    found = {}
    for name, value in given.items():
        if value is None:
            continue
        if any(find_method(method).takes(name) for method in names):
            found[name] = value
        elif name not in left_alone:
            takers = [m.name for m in methods().values() if m.takes(name)]
            raise InvalidInputError(
                f"--{name.replace('_', '-')} is for {', '.join(takers)}; got {', '.join(names)}"
            )
    return found


def taken_by(given: Sequence[str], option: str) -> bool:
    """Whether one of the methods takes an option; of none given, one of those that run by default.

    given: their names, perhaps with options of their own behind a colon.
    """
    names = [text.partition(":")[0] for text in given]
    found = [find_method(name) for name in names] or [m for m in methods().values() if m.default]
    return any(method.takes(option) for method in found)


def own_options(method: str, names: Collection[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """What of some options one method takes, where several run together.

    Two methods may have options of one name and values of their own (`rule`): each takes what is a
    value of its, and has its default where the value is another one's.
    """
    found = {}
    for name, value in given.items():
        if not find_method(method).takes(name):
            continue
        others = [other for other in names if other != method and find_method(other).takes(name)]
        own = value is None or _is_of(method, name, value)
        if own or not any(_is_of(other, name, value) for other in others):
            found[name] = value
    return found


def _is_of(method: str, name: str, value: Any) -> bool:
    option = next(one for one in find_method(method).options if one.name == name)
    try:
        option.check(value)
    except InvalidInputError:
        return False
    return True


def command_line_options(names: Sequence[str] | None = None) -> list[Option]:
    """What the command line offers for some methods, or for all; one for each name."""
    known = methods()
    found: dict[str, Option] = {}
    for method in known if names is None else names:
        for option in known[method].options:
            if option.command_line:
                same = found.get(option.name)
                found[option.name] = option if same is None else _merged(same, option)
    return list(found.values())


def _merged(a: Option, b: Option) -> Option:
    """One option of a name that two methods use, perhaps with values of their own."""
    if a is b:
        return a
    texts = a.help if b.help in a.help else f"{a.help} {b.help}"
    return a._replace(help=texts, choices=tuple(dict.fromkeys((*a.choices, *b.choices))))


@contextmanager
def raised_limits(given: Sequence[str]) -> Iterator[None]:
    """Hold what is built inside to limits from texts such as "nodes=100000".

    Raises:
        InvalidInputError: an unknown name, or no whole number.
    """
    with within(_parsed(given)):
        yield


def _parsed(given: Sequence[str]) -> Limits:
    names = [field.name for field in dataclasses.fields(Limits)]
    values = {}
    for text in given:
        name, _, number = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in names:
            raise InvalidInputError(f"limit {name!r}: expected one of {', '.join(names)}")
        try:
            values[name] = int(number.replace("_", "").replace(",", ""))
        except ValueError:
            raise InvalidInputError(
                f"limit {name}: expected a whole number, got {number!r}"
            ) from None
    return Limits(**values)
