"""Damage to bytes, to protobuf messages and to JSON: what a download may bring.

All of it is drawn from a `random.Random`, so that a seed, or hypothesis, says it again.
"""

from __future__ import annotations

from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_BITS = 2**62
INTEGERS = (0, 1, -1, 2, 3, 7, 127, 128, 2**15, 2**31 - 1, -(2**31), 2**31, 2**40, _BITS, -_BITS)
INTEGERS += (2**63 - 1, -(2**63))
INFINITE = float("inf")
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-38, 1e30, 3e38, INFINITE, -INFINITE, float("nan"))
TEXTS = ("", " ", "\0", "\x1b[2J\x07", "a\r\nb", "\u202eabc", "x", "y", "?", "-1", "/dev/zero")
TEXTS += ("../../etc/passwd", "é", "名", "Conv", "Loop", "ai.onnx", "n" * 5000, "%s%n{0}")
OPERATORS = ("Relu", "Conv", "MatMul", "Gemm", "Softmax", "Reshape", "Loop", "Scan", "If", "Pad")
OPERATORS += ("Constant", "ConstantOfShape", "Expand", "Tile", "Resize", "Range", "Concat", "Cast")
OPERATORS += ("Gather", "LSTM", "QuantizeLinear", "DequantizeLinear", "Split", "NonZero", "Clip")
_MOST = 200_000


def damaged_bytes(random: Random, data: bytes) -> bytes:
    """The bytes with one to five changes: bits, runs, pieces left out, repeated or moved."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        if not found:
            return bytes(random.choice((0, 1, 255)) for _ in range(16))
        at = random.randrange(len(found))
        length = min(random.choice((1, 2, 4, 16, 256)), len(found) - at)
        kind = random.randrange(7)
        if kind == 0:
            found[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            found[at : at + length] = bytes([random.choice((0, 1, 127, 128, 255))]) * length
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            found[at:at] = found[at : at + length]
        elif kind == 4:
            del found[at:]
        elif kind == 5:
            to = random.randrange(len(found))
            found[to : to + length] = found[at : at + length]
        else:
            found[at:at] = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
    return bytes(found)


def damage_message(random: Random, message: Message) -> None:
    """Change a protobuf message in place, in one to four of its fields, however deep."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        _change(random, _somewhere(random, message))


def _somewhere(random: Random, message: Message) -> Message:
    """The message, or one inside it."""
    while True:
        inner = [
            (field, value)
            for field, value in message.ListFields()
            if field.type == FieldDescriptor.TYPE_MESSAGE
        ]
        if not inner or random.random() < 0.15:
            return message
        field, value = random.choice(inner)
        message = value[random.randrange(len(value))] if field.is_repeated else value


def _change(random: Random, message: Message) -> None:
    fields = [field for field, _ in message.ListFields()]
    if not fields or random.random() < 0.15:
        fields = list(message.DESCRIPTOR.fields)
    field = random.choice(fields)
    if field.is_repeated:
        _change_list(random, message, field)
    elif random.random() < 0.2:
        message.ClearField(field.name)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        _change(random, getattr(message, field.name))
    else:
        setattr(message, field.name, _other(random, field, getattr(message, field.name)))


def _change_list(random: Random, message: Message, field: FieldDescriptor) -> None:
    values = list(getattr(message, field.name))
    kind = random.randrange(6)
    if not values or kind == 5:
        values.insert(random.randrange(len(values) + 1), _new(random, message, field, values))
    elif kind == 0:
        del values[random.randrange(len(values))]
    elif kind == 1:
        values.append(values[random.randrange(len(values))])
    elif kind == 2:
        random.shuffle(values)
    elif kind == 3:
        values = values * random.choice((2, 2, 100)) if len(values) < 1000 else values[:1]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        _change(random, values[random.randrange(len(values))])
        return
    else:
        at = random.randrange(len(values))
        values[at] = _other(random, field, values[at])
    if sum(v.ByteSize() if isinstance(v, Message) else 8 for v in values) > _MOST:
        return
    copies = [
        type(v).FromString(v.SerializeToString()) if isinstance(v, Message) else v for v in values
    ]
    message.ClearField(field.name)
    getattr(message, field.name).extend(copies)


def _copy(value: Any) -> Any:
    return (
        type(value).FromString(value.SerializeToString()) if isinstance(value, Message) else value
    )


def _new(random: Random, message: Message, field: FieldDescriptor, values: list[Any]) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        probe = type(message)()
        return getattr(probe, field.name).add()
    return _other(random, field, values[0] if values else None)


def _other(random: Random, field: FieldDescriptor, value: Any) -> Any:
    """Another value that a field may hold."""
    kind = field.type
    if field.name == "op_type":
        return random.choice((*OPERATORS, *TEXTS))
    if kind == FieldDescriptor.TYPE_STRING:
        return random.choice((*TEXTS, (value or "")[:-1], (value or "") + "_"))
    if kind == FieldDescriptor.TYPE_BYTES:
        return random.choice((b"", damaged_bytes(random, value or b"\0"), b"\xff\xfe", b"NOTSET"))
    if kind == FieldDescriptor.TYPE_ENUM:
        return random.choice([v.number for v in field.enum_type.values])
    if kind in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return random.choice(FLOATS)
    if kind == FieldDescriptor.TYPE_BOOL:
        return not value
    found = random.choice((*INTEGERS, (value or 0) + 1, (value or 0) - 1, random.randrange(40)))
    if kind in (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_ENUM):
        return max(-(2**31), min(found, 2**31 - 1))
    return max(0, found) if kind == FieldDescriptor.TYPE_UINT64 else found


def damaged_json(random: Random, value: Any) -> Any:
    """A JSON value with one thing in it another."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = random.choice(sorted(value))
        if random.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if random.random() < 0.1:
            return {**value, random.choice(TEXTS): value[key]}
        return {**value, key: damaged_json(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.6:
        at = random.randrange(len(value))
        return [*value[:at], damaged_json(random, value[at]), *value[at + 1 :]]
    numbers = (*INTEGERS, *FLOATS, 10**400)
    return random.choice((None, True, [], {}, [[]], random.choice(TEXTS), random.choice(numbers)))
