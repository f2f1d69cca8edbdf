"""Heads that are trained on drawn shapes find, explain and show what was drawn; see the script."""

import pytest
import torch
from support.often import by_night
from trained.heads import HEADS
from trained.measuring import measured
from trained.parts import drawn
from trained_heads import is_right


@by_night
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HEADS)
def test_a_trained_head(name, tmp_path):
    """Minutes of training each: `python tests/trained_heads.py` prints the table of all."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for head in HEADS[name](tmp_path):
            row = measured(head, list(drawn(head.draw, 12)), tmp_path)
            assert row.network > 0.8 * row.targets and is_right(row), row
    finally:
        torch.set_num_threads(threads)
