"""Cases of the elementwise and arithmetic rules."""

from __future__ import annotations

import numpy as np

from support.rule_cases import Fixed, add, away_from, normal, scalar, separated

zero = away_from(0.0)
positive = np.abs(away_from(0.0)) + 0.1
inside = zero / 4

for op in (
    "Relu",
    "Abs",
    "Neg",
    "Identity",
    "Sigmoid",
    "Tanh",
    "Softplus",
    "Softsign",
    "Mish",
    "Exp",
):
    add(op, zero, step=1.0 if op in ("Neg", "Identity") else 1e-4)
add("Erf", zero, oracle="torch")
for op in ("Sin", "Cos", "Sinh", "Cosh", "Atan", "Asinh"):
    add(op, zero)
for op in ("Tan", "Asin", "Acos", "Atanh"):
    add(op, inside)
for op in ("Log", "Sqrt", "Reciprocal"):
    add(op, positive)
add("Acosh", positive + 1.1)
add("LeakyRelu", zero)
add("LeakyRelu", zero, alpha=0.3)
add("Elu", zero, alpha=1.7)
add("Celu", zero, alpha=1.7)
add("Selu", zero)
add("Selu", zero, alpha=1.2, gamma=0.9)
add("ThresholdedRelu", away_from(0.7), alpha=0.7)
add("Shrink", away_from(-0.6, 0.6), lambd=0.6, bias=0.2)
add("HardSigmoid", away_from(-2.5, 2.5))
add("HardSigmoid", away_from(-1.0, 1.5), alpha=0.4, beta=0.4)
add("HardSwish", away_from(-3.0, 3.0) * 1.4)
add("Gelu", zero)
add("Gelu", zero, approximate="tanh")
add("Swish", zero, alpha=1.5, opset=24)
add("Clip", away_from(-1.0, 1.5), scalar(-1.0), scalar(1.5))
add("Clip", away_from(0.5), None, scalar(0.5))
add("Clip", away_from(0.5), scalar(0.5))
add("Clip", zero)
low, high = np.asarray(-1.0), np.asarray(1.5)
add("Clip", away_from(-1.0, 1.5), low, high)
add("Clip", away_from(-1.0, 1.5), low)
add("Floor", away_from(-2, -1, 0, 1, 2))
add("Ceil", away_from(-2, -1, 0, 1, 2))
add("Round", away_from(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5))
add("Sign", zero)
add("Dropout", zero, step=1.0)
add("Cast", zero, step=1.0, to=1)
add("CastLike", zero, Fixed(np.zeros(1)), step=1.0)

slope = np.abs(normal(3, 1)) / 3
add("PRelu", zero, slope)
add("PRelu", zero, normal(2, 3, 4, seed=1))
add("PRelu", zero, normal(4, seed=1))
add("PRelu", zero, Fixed(slope))

# Broadcasting on either side, and one tensor used twice (in rule_cases_movement: whole graphs).
for op in ("Add", "Sub", "Mul", "Div"):
    step = 1.0 if op in ("Add", "Sub") else 1e-4
    shift = 3.0 if op == "Div" else 0.0
    add(op, normal(2, 3, 4), normal(2, 3, 4, seed=1) / 3 + shift, step=step)
    add(op, normal(2, 3, 4), normal(3, 1, seed=1) / 3 + shift, step=step)
    add(op, normal(1, 4), normal(2, 3, 1, seed=1) / 3 + shift, step=step)
    add(op, normal(2, 3), scalar(1.7), step=step)
    add(op, scalar(1.7), normal(2, 3) / 3 + shift, step=step)
add("Pow", positive, scalar(2.0))
add("Pow", zero, scalar(2.0))
add("Pow", zero, scalar(3.0))
add("Pow", positive, np.full((4,), 1.7))
add("Pow", np.asarray([1.5]), zero)
add("Sum", normal(2, 3), normal(3, seed=1), normal(2, 1, seed=2), step=1.0)
add("Mean", normal(2, 3), normal(3, seed=1), normal(2, 1, seed=2), step=1.0)
add("Max", separated(2, 3, 4), separated(3, 4, seed=1) + 0.02)
add("Min", separated(2, 3, 4), separated(3, 4, seed=1) + 0.02, separated(1, seed=2))
add("Max", separated(2, 3), scalar(0.01))
add("Where", Fixed(normal(2, 3) > 0), normal(2, 3), normal(2, 1, seed=2), step=1.0)
add("Where", Fixed(normal(3) > 0), normal(1, 3), normal(2, 1, seed=2), step=1.0)
add("Mod", zero * 2 + 0.3, Fixed(np.asarray([1.3, 0.7, 2.1, 0.9])), fmod=1)
