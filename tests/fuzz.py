"""Random graphs for as long as asked: `python tests/fuzz.py --minutes 30 [--seed 0]`.

Prints each failure with its seed (`--only SEED` runs one again), and the counts at the end.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from support.random_checks import check
from support.random_extras import extra
from support.random_graphs import Built, random_model
from support.random_variants import check_variants


def built_from(seed: int) -> Built:
    """The model of a seed."""
    random = np.random.default_rng(seed)
    return random_model(lambda options: options[int(random.integers(len(options)))], seed)


def verdict(seed: int) -> str:
    """Check one seed: "explained", "refused", "no model", "not finite" or "wrong: ..."."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            # Every fourth one is small, of what whole graphs do not draw.
            whole = seed % 4
            found = check(built_from(seed), Path(folder)) if whole else extra(seed // 4)
            if found == "explained" and whole:
                _vary(seed)
        except Exception as error:  # whatever is raised is a finding
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return f"wrong: {type(error).__name__}: {' '.join(lines)[:300]}"
    return found if found in ("explained", "no model", "not finite") else f"refused: {found}"


def _vary(seed: int) -> None:
    """The model of a seed with more outputs, and with open lengths."""
    random = np.random.default_rng([seed, 1])
    check_variants(built_from(seed), lambda options: options[int(random.integers(len(options)))])


def main() -> None:
    """Run, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    logging.getLogger("onnxplain").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if options.only is not None:
        print(verdict(options.only))
        return
    end, seed = time.monotonic() + 60 * options.minutes, options.seed
    counts: Counter[str] = Counter()
    while time.monotonic() < end:
        found = verdict(seed)
        counts[found.split(":")[0]] += 1
        if found.startswith(("wrong", "refused")):
            print(f"seed {seed}: {found[:400]}", flush=True)
        seed += 1
    print(f"{sum(counts.values())} graphs: " + ", ".join(f"{n} {k}" for k, n in counts.items()))


if __name__ == "__main__":
    main()
