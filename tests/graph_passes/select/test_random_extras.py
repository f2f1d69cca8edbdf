"""A few of the small random models that `tests/fuzz.py` draws for as long as asked."""

from __future__ import annotations

import pytest
from support.random_extras import extra


@pytest.mark.parametrize("seed", range(40))
def test_random_rows_axes_and_heads(seed: int) -> None:
    extra(seed)
