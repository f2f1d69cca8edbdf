"""Sounds: `.wav` files of whole numbers or floats, drawn along time."""

from __future__ import annotations

import io
import math
import warnings
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ... import InvalidInputError
from ...graph_passes.methods import find_method
from ...graph_passes.select.features import Features, with_channels
from ...models.files import check_regular
from ...models.plain_card import Card
from ...models.text import counted
from ..pictures.arrays import laid_out
from ..pictures.heatmap import Heatmap, Picture
from ..pictures.sound import pooled, waveform, waveform_map
from . import array
from .kind import InputKind, ModelInput, Named, Reading, Shape, check_keys, described

KEYS = ("sample_rate", "mix", "scale")
# How several channels become one.
MIXES = ("mean", "first")
_MOST_BYTES = 2**30
# A value of the card, which `_features` has checked.
Setting: TypeAlias = Any


class Sound(NamedTuple):
    """What was read.

    Attributes:
        samples: [C, T], -1 to 1.
        rate: samples a second.
        name: what messages call it.
        damage: what is wrong with its file, or None.
        note: what was made of it, for its picture.
    """

    samples: np.ndarray
    rate: float
    name: str
    damage: str | None = None
    note: str = ""


def _suffixes() -> frozenset[str]:
    return frozenset({".wav"})


def _begins(content: bytes) -> bool:
    return content[:4] in (b"RIFF", b"RIFX", b"RF64") and content[8:12] == b"WAVE"


def _takes(into: ModelInput) -> bool:
    return (
        into.shape is not None
        and len(into.shape) in (2, 3)
        and np.dtype(into.dtype).kind in "fi"
        and _lengths(into)[0] in (None, 1, 2)
    )


def _refuse(into: ModelInput) -> None:
    raise InvalidInputError(
        f"a sound needs a model that takes [N, samples] or [N, channels, samples], and its input "
        f"{into.name!r} is {described(into)}"
    )


def _channel_axis(into: ModelInput) -> int:
    """The axis of a sound's channels in an input of three axes."""
    return into.features.channel_axis or 1


def _lengths(into: ModelInput) -> tuple[int | None, int | None]:
    """How many channels and samples the model takes; None: any number."""
    shape = [d if isinstance(d, int) and d > 0 else None for d in into.shape or ()]
    if len(shape) == 2:
        return 1, shape[1]
    axis = _channel_axis(into)
    return shape[axis], shape[3 - axis]


def _setting(into: ModelInput, key: str, default: Setting) -> Setting:
    card = into.card
    return default if card is None or card.kind != "audio" else card.settings.get(key, default)


def _read(given: Any, how: Reading, into: ModelInput) -> Sound:
    """A WAV file, as many channels and samples a second as the model and its card have.

    Raises:
        InvalidInputError: it cannot be read, or is of another length than the model takes.
    """
    if not _takes(into):
        _refuse(into)
    if isinstance(given, str):
        if check_regular(given, "sound", _MOST_BYTES) == 0:
            raise InvalidInputError(f"sound {given}: expected a WAV file, got an empty file")
        with open(given, "rb") as file:
            content = file.read(_MOST_BYTES)
    elif isinstance(given, bytes):
        content = given
    else:
        raise InvalidInputError(f"sound {how.name}: expected a file, got {type(given).__name__}")
    sound = _decoded(content, how.name)
    if how.strict and sound.damage is not None:
        raise InvalidInputError(f"sound {how.name}: {sound.damage}")
    sound = _at_rate(_mixed(sound, into), _setting(into, "sample_rate", None))
    _check_length(sound, into)
    return sound


def _decoded(content: bytes, name: str) -> Sound:
    """The samples of a file's bytes: whole numbers of n bits are parts of 2^(n - 1).

    Raises:
        InvalidInputError: it is no WAV file, is of a form that nobody reads, or has no samples.
    """
    from scipy.io import wavfile  # 0.1 s, which only sounds need

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            rate, samples = wavfile.read(io.BytesIO(content))
    except Exception as error:
        # Headers that are wrong raise nearly anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInputError(f"sound {name}: expected a WAV file, {reason}") from None
    samples = np.atleast_2d(samples) if samples.ndim == 1 else samples.T
    if samples.size == 0 or rate <= 0:
        raise InvalidInputError(f"sound {name}: expected samples, got none")
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    values = samples.astype(np.float64)
    if kind == "u":
        values = (values - 128) / 128
    elif kind == "i":
        values = values / 2.0 ** (bits - 1)
    if not np.isfinite(values).all():
        raise InvalidInputError(f"sound {name}: expected finite samples, got NaN or infinity")
    short = any("prematurely" in str(one.message) for one in said)
    damage = "the file ends too early" if short else None
    return Sound(values, float(rate), name, damage)


def _mixed(sound: Sound, into: ModelInput) -> Sound:
    """As many channels as the model takes: of several one by the card's `mix`, or their mean."""
    wanted, own = _lengths(into)[0], len(sound.samples)
    if wanted in (None, own):
        return sound
    if wanted != 1:
        raise InvalidInputError(
            f"sound {sound.name}: expected {counted(wanted, 'channel')}, as the model's input "
            f"{into.name!r} has, got {own}"
        )
    if _setting(into, "mix", MIXES[0]) == "first":
        return sound._replace(samples=sound.samples[:1], note=f"channel 1 of {own}")
    mean = sound.samples.mean(axis=0, keepdims=True)
    return sound._replace(samples=mean, note=f"the mean of {counted(own, 'channel')}")


def _at_rate(sound: Sound, rate: float | None) -> Sound:
    """At the card's rate, resampled by a polyphase filter where the file has another."""
    if rate is None or rate == sound.rate:
        return sound
    from scipy.signal import resample_poly  # 0.3 s, which only other rates need

    common = math.gcd(round(rate), round(sound.rate))
    up, down = round(rate) // common, round(sound.rate) // common
    note = f"resampled from {sound.rate:g} to {rate:g} Hz"
    return sound._replace(
        samples=resample_poly(sound.samples, up, down, axis=1),
        rate=float(rate),
        note=f"{sound.note}, {note}" if sound.note else note,
    )


def _check_length(sound: Sound, into: ModelInput) -> None:
    wanted, own = _lengths(into)[1], sound.samples.shape[1]
    if wanted not in (None, own):
        raise InvalidInputError(
            f"sound {sound.name}: expected {counted(wanted, 'sample')} "
            f"({wanted / sound.rate:.3g} s at {sound.rate:g} Hz), as the model's input "
            f"{into.name!r} has, got {own} ({own / sound.rate:.3g} s)"
        )


def _fit(thing: Sound, into: ModelInput) -> np.ndarray:
    """[1, T] or [1, C, T]; of whole numbers as those of 16 bits are, unless the card says."""
    whole = np.dtype(into.dtype).kind == "i"
    values = thing.samples * float(_setting(into, "scale", 32768.0 if whole else 1.0))
    if whole:
        limits = np.iinfo(into.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    if into.shape is not None and len(into.shape) == 2:
        return values
    return values[None] if _channel_axis(into) == 1 else values.T[None]


def _features(card: Card, shape: Shape) -> Features | None:
    """Positions lie along time.

    Raises:
        InvalidInputError: an unknown key, or a wrong value.
    """
    check_keys(card.settings, KEYS)
    for key, what in (("sample_rate", "samples a second"), ("scale", "a number above 0")):
        value = card.settings.get(key, 1)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < 1e9 or (key == "sample_rate" and value < 1):
            raise InvalidInputError(f"{key!r}: expected {what}, got {value!r}")
    if card.settings.get("mix", "mean") not in MIXES:
        raise InvalidInputError(f"'mix': expected {' or '.join(MIXES)}")
    if len(shape) == 2:
        return Features(2, None, (1,))
    last = len(shape) == 3 and shape[2] in (1, 2)
    return with_channels(3, 2 if last else 1) if len(shape) == 3 else None


def _view(thing: Sound, into: ModelInput) -> Picture:
    del into
    count = len(thing.samples)
    names = [f"channel {k + 1}" for k in range(count)] if count > 1 else []
    return waveform(thing.samples, thing.rate, names, thing.note)


def _draw(values: np.ndarray, into: ModelInput, method: str, **how: Any) -> Heatmap:
    """A map of samples, or of positions alone, behind the waveform."""
    values = np.asarray(values, np.float64)
    channels = _channel_axis(into) - 1
    flat = values[None] if values.ndim == 1 else np.moveaxis(values, channels, 0)
    count = _lengths(into)[0] or len(flat)
    mean = find_method(method).per_location
    shown = pooled(flat, mean)
    if shown is not flat:
        what = "mean" if mean else "net"
        how["drawing"] = [f"{what} evidence of {counted(shown.shape[1], 'stretch')} of time"]
    return laid_out(shown, method, partial(waveform_map, count=count), blurs=(1,), **how)


def _damage(thing: Sound) -> str | None:
    return thing.damage


KIND = InputKind(
    name="audio",
    title="a sound",
    suffixes=_suffixes,
    begins=_begins,
    takes=_takes,
    read=_read,
    fit=_fit,
    tensor=array.tensor,
    features=_features,
    view=_view,
    draw=_draw,
    baselines={"zeros": Named(array.zeros), "silence": Named(array.zeros)},
    damage=_damage,
    refuse=_refuse,
    place=94,
)
