"""The methods, a file each: what a module here calls METHODS is known everywhere."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from ... import InvalidInputError
from .method import Method, nearest


@cache
def _registry() -> dict[str, Method]:
    found: list[Method] = []
    for module in pkgutil.iter_modules(__path__):
        found += getattr(import_module(f"{__name__}.{module.name}"), "METHODS", ())
    names = [method.name for method in found]
    assert len(set(names)) == len(names), f"two methods of one name: {sorted(names)}"
    return {m.name: m for m in sorted(found, key=lambda m: (m.place, m.name))}


def methods() -> dict[str, Method]:
    """Every method by its name, those that run by default first.

    Examples:
        >>> list(onnxplain.methods())[:3]
        ['grad-cam', 'integrated-gradients', 'deeplift']
    """
    return dict(_registry())


def default_methods(of_places: bool = False) -> list[str]:
    """The names of those that run where nobody chose.

    Args:
        of_places: whether the score is that of one place of the picture, as a detector's is.
    """
    found = _registry()
    names = [name for name, method in found.items() if method.default]
    better = {m.of_places: name for name, m in found.items() if m.of_places}
    return [better.get(name, name) if of_places else name for name in names]


def find_method(name: str) -> Method:
    """The method of that name; capitals, spaces, _ and - do not matter, and `ig` is known, too.

    So are compositions, which are not listed: `smoothgrad-of-deeplift`.

    Raises:
        InvalidInputError: there is none; the message names the nearest.
    """
    known = _registry()
    if isinstance(name, str) and name in known:
        return known[name]
    if isinstance(name, str):
        composed = {one.name: one for method in known.values() for one in method.compositions}
        plain = {_plain(one): method for one, method in {**composed, **known}.items()}
        plain |= {alias: method for method in known.values() for alias in method.aliases}
        if _plain(name) in plain:
            return plain[_plain(name)]
    close = nearest(name, known) if isinstance(name, str) else ""
    raise InvalidInputError(f"method must be one of {', '.join(known)}; got {name!r}{close}")


def _plain(name: str) -> str:
    """A name without what people leave out or write in another way."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")
