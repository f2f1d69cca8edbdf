"""The table's lines, totals and Markdown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

METHODS = ("gradient", "integrated-gradients", "deeplift", "grad-cam")
Record = dict[str, Any]
Key = tuple[str, str, str]


def read(path: Path) -> dict[Key, Record]:
    """The last record of every file."""
    if not path.exists():
        return {}
    records = map(json.loads, path.read_text().splitlines())
    return {(r["name"], r["exporter"], r["batch"]): r for r in records}


def status(record: Record) -> str:
    """ "explained", "refused", "wrong" or "crashed" for what loads; else what came before."""
    if "died" in record:
        reached = record.get("reached") or {}
        return "crashed" if reached.get("loads", False) else "not exported"
    if not record.get("built", True) or not record.get("exported", False):
        return "not exported"
    if not record["loads"]:
        return "does not load"
    found = {record[method]["status"] for method in METHODS}
    for worse in ("wrong", "crashed"):
        if worse in found:
            return worse
    return "explained" if "ok" in found else "noise" if "noise" in found else "refused"


def line(record: Record) -> str:
    """One file in one line."""
    head = f"{record['name']} {record['exporter']} {record['batch']}: {status(record)}"
    if "gradient" not in record:
        return f"{head} {record.get('died', '')} {record.get('reason', '')}"[:300]
    return head + "; " + "; ".join(_cell(method, record[method]) for method in METHODS)


def _cell(method: str, answer: Record) -> str:
    if answer["status"] in ("refused", "crashed"):
        return f"{method} {answer['status']}: {answer['reason'][:150]}"
    numbers = [f"{k} {answer[k]:.1e}" for k in ("error", "torch") if answer.get(k) is not None]
    if "before" in answer:
        numbers.append(f"{answer['map']} behind {answer['before']} ({answer['oracle']})")
    return f"{method} {answer['status']} {' '.join(numbers)}"


def summary(records: dict[Key, Record]) -> str:
    """Totals, reasons and the table, as Markdown."""
    kinds = Counter(status(record) for record in records.values())
    loading = [r for r in records.values() if "gradient" in r or status(r) == "crashed"]
    parts = [f"{len(records)} files of {len({r['name'] for r in records.values()})} networks"]
    parts += [f"- {kind}: {count}" for kind, count in kinds.most_common()]
    parts += ["", f"Of the {len(loading)} that load in ONNX Runtime:"]
    for method in METHODS:
        found = Counter(r[method]["status"] if method in r else "crashed" for r in loading)
        parts.append(f"- {method}: " + ", ".join(f"{n} {kind}" for kind, n in found.most_common()))
    every = sum(all(r.get(m, {}).get("status") == "ok" for m in METHODS[:3]) for r in loading)
    parts.append(f"- by gradient, Integrated Gradients and DeepLIFT alike: {every}")
    parts += ["", "Reasons:", *_reasons(records.values()), "", *_markdown(records)]
    return "\n".join(parts)


def _reasons(records: Iterable[Record]) -> list[str]:
    """Every distinct reason, with the files that it holds for."""
    found: dict[str, list[str]] = {}
    for record in records:
        place = "/".join(record[k] for k in ("name", "exporter", "batch"))
        if "gradient" not in record:
            reason = record.get("died") or record.get("reason", "")
            found.setdefault(f"{status(record)}: {reason}", []).append(place)
            continue
        for method in METHODS:
            answer = record[method]
            if answer["status"] != "ok":
                reason = answer.get("reason") or f"error {answer.get('error')}"
                found.setdefault(f"{method} {answer['status']}: {reason}", []).append(place)
    return [f"- {reason[:400]}: {', '.join(places)}" for reason, places in sorted(found.items())]


def _markdown(records: dict[Key, Record]) -> list[str]:
    rows = [
        "| file | score | gradient (PyTorch's) | IG (PyTorch's) | DeepLIFT | Grad-CAM | before |"
    ]
    rows.append("|---|---|---|---|---|---|---|")
    for key in sorted(records):
        record = records[key]
        name = " ".join([*key, *record.get("note", "").split()[:1]])
        if "gradient" not in record:
            rows.append(f"| {name} | {status(record)} | | | | | |")
            continue
        gradient, integrated, deeplift, cam = (record[m] for m in METHODS)
        cells = [f"{record['score']['error']:.0e}"]
        cells += [_short(a, "error", "torch") for a in (gradient, integrated)]
        cells += [_short(deeplift, "error"), _short(cam, "error")]
        cells.append(f"{cam['before']:.0%}" if cam.get("before") is not None else "")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def _short(answer: Record, *keys: str) -> str:
    if answer["status"] in ("refused", "crashed"):
        return str(answer["status"])
    numbers = [f"{answer[key]:.0e}" for key in keys if answer.get(key) is not None]
    text = " (".join(numbers) + (")" if len(numbers) > 1 else "")
    return text if answer["status"] == "ok" else f"{text} {answer['status']}"


def networks(records: dict[Key, Record]) -> str:
    """The totals, a line for each network with the worst of its files, and why what was refused."""
    by_name: dict[str, list[Record]] = {}
    for key in sorted(records):
        by_name.setdefault(key[0], []).append(records[key])
    head = summary(records).split("\nReasons:\n")[0]
    rows = ["| network | files that load | gradient | Integrated Gradients | DeepLIFT | Grad-CAM |"]
    rows.append("|---|---|---|---|---|---|")
    for name, files in by_name.items():
        found = [r.get("reached") or r for r in files]
        loading = [r for r in found if "gradient" in r]
        cells = [_worst([r[m] for r in loading if m in r]) for m in METHODS]
        rows.append(f"| {name} | {len(loading)} of {len(files)} | {' | '.join(cells)} |")
    return "\n".join([head, "", *rows, "", "Reasons:", *_general_reasons(records.values())])


def _worst(answers: list[Record]) -> str:
    """The largest error of those that are right, and how many are something else."""
    errors = [a["error"] for a in answers if a["status"] == "ok" and a.get("error") is not None]
    kinds = Counter(a["status"] for a in answers if a["status"] != "ok")
    right = [f"{max(errors):.0e}"] if errors else []
    return ", ".join([*right, *(f"{kind} {count}x" for kind, count in kinds.items())])


def _general_reasons(records: Iterable[Record]) -> list[str]:
    """Every reason, with the networks that it holds for; what names one tensor stands as '...'."""
    found: dict[str, set[str]] = {}
    for record in records:
        answers = [(m, record[m]) for m in METHODS if m in record] or [(status(record), record)]
        for what, answer in answers:
            if answer.get("status") == "ok" or (what in METHODS and answer["status"] == "noise"):
                continue
            reason = answer.get("reason") or answer.get("died") or f"error {answer.get('error')}"
            reason = re.sub(r"'[^']*'|\"[^\"]*\"|/tmp/\S*|\d{3,}", "...", reason)[:160]
            kind = answer.get("status", "")
            found.setdefault(" ".join(f"{what} {kind}: {reason}".split()), set()).add(
                record["name"]
            )
    return [f"- {reason} ({', '.join(sorted(names))})" for reason, names in sorted(found.items())]
