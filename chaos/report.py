"""The report of a run: numbers as JSON, and a page with faults, rates and latency over time."""

from collections import Counter, defaultdict
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from chaos import throughput
from chaos.deaths import Death
from chaos.faults import Faults, Happened
from chaos.verdict import Verdict
from chaos.workload import Workload

_WIDTH, _TOP, _HEIGHT = 1_200, 20, 160
_BACK_WATCHED_S = 60.0
_GOING_ON = 0.2
"""Under other faults the work goes on when it is back at a fifth of the calm rate."""
_COLOURS = {
    "role": "#c2185b",
    "broker": "#e67e00",
    "postgres": "#3f51b5",
    "net": "#00838f",
    "clock": "#6d4c41",
    "disk": "#455a64",
    "death": "#000",
}


class Run(msgspec.Struct, kw_only=True):
    """What a run leaves; times in s since it began. `healed_s`: when the last fault was over;
    `ended_s`: from then to the end of the last transfer that was open then."""

    seed: int
    seconds: float
    calm_per_s: float
    healed_s: float
    ended_s: float
    deaths: list[Death]
    faults: Faults
    workload: Workload
    verdict: Verdict


def numbers(run: Run) -> dict[str, Any]:
    verdict, told, happened = run.verdict, run.workload.told, run.faults.happened
    latencies = sorted(one.told_s - one.asked_s for one in told)

    def percentile(percent: int) -> float:
        return round(latencies[len(latencies) * percent // 100], 3) if latencies else 0.0

    attacked = [fault for fault in happened if fault.to_s <= run.healed_s]
    minutes = max((run.healed_s - min((f.from_s for f in attacked), default=0.0)) / 60, 0.01)
    return {
        "good": not verdict.wrong and not verdict.late,
        "wrong": verdict.wrong[:100],
        "late": verdict.late,
        "seed": run.seed,
        "seconds": round(run.seconds),
        "faults": len(happened) + len(run.deaths),
        "faults_a_minute": round(len(happened) / minutes, 1),
        "faults_by_kind": dict(Counter(fault.kind for fault in happened).most_common()),
        "faults_that_never_happened": run.faults.never,
        "faults_skipped": run.faults.skipped,
        "requests_disturbed": dict(sorted(run.faults.requests.items())),
        "transfers_told": len(told),
        "states_told": dict(Counter(one.state for one in told)),
        "ends_by_definition": dict(sorted(run.workload.kinds.items())),
        "looks_at_balances": len(run.workload.looks),
        "calm_transfers_per_s": round(run.calm_per_s, 1),
        "latency_s": {
            "p50": percentile(50),
            "p99": percentile(99),
            "max": round(max(latencies, default=0.0), 3),
        },
        "longest_standstill_s": round(throughput.longest_gap_s(run.workload.ends_s), 1),
        "deaths": [
            {
                "whom": death.whom,
                "back_after_s": round(death.back_s, 1),
                "standstill_s": round(death.gap_s, 1),
            }
            for death in run.deaths
        ],
        "back_after_fault_s": _back_by_kind(run),
        "last_open_transfer_ended_after_healing_s": round(run.ended_s, 1),
        "audit": msgspec.to_builtins(verdict.report.counts),
        "totals": msgspec.to_builtins(verdict.report.totals),
    }


def back_after_s(run: Run, fault: Happened) -> float:
    """From the fault's end until transfers ended at a fifth of the calm rate or more, though other
    faults may go on; at most 60 s."""
    found = throughput.back_after_s(
        run.workload.ends_s, fault.to_s, fault.to_s + _BACK_WATCHED_S, _GOING_ON * run.calm_per_s
    )
    return _BACK_WATCHED_S if found is None else found


def _back_by_kind(run: Run) -> dict[str, dict[str, float]]:
    by_kind: defaultdict[str, list[float]] = defaultdict(list)
    for fault in run.faults.happened:
        by_kind[fault.kind].append(back_after_s(run, fault))
    return {
        kind: {"median": round(median(found), 1), "worst": round(max(found), 1)}
        for kind, found in sorted(by_kind.items())
    }


def write(folder: Path, run: Run) -> dict[str, Any]:
    """Writes report.json, with every fault, and report.html; gives the numbers."""
    found = numbers(run)
    each = [
        {**fault._asdict(), "back_after_s": back_after_s(run, fault)}
        for fault in run.faults.happened
    ]
    rates = Counter(int(end_s) for end_s in run.workload.ends_s)
    every_second = [rates[second] for second in range(round(run.seconds))]
    content = msgspec.json.encode(
        {**found, "every_fault": each, "transfers_every_second": every_second}
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(msgspec.json.format(content) + b"\n")
    (folder / "report.html").write_text(_page(found, run), encoding="utf-8")
    return found


def _page(found: dict[str, Any], run: Run) -> str:
    seconds = max(found["seconds"], 1)
    told = run.workload.told
    rate = Counter(int(one.told_s) for one in told)
    latencies: defaultdict[int, list[float]] = defaultdict(list)
    for one in told:
        latencies[int(one.told_s)].append(one.told_s - one.asked_s)
    slowest = {at: max(values) for at, values in latencies.items()}
    middle = {at: median(values) for at, values in latencies.items()}
    verdict = "Nothing was lost or doubled." if not found["wrong"] else "NOT right: see wrong."
    rows = "".join(
        f"<tr><th>{name}</th><td>{escape(str(found[name]))}</td></tr>"
        for name in found
        if name not in ("audit", "totals")
    )
    happened = [
        *run.faults.happened,
        *(Happened("death", d.whom, d.at_s, d.at_s + d.back_s) for d in run.deaths),
    ]
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Chaos run</title>
<style>body{{font:14px system-ui;margin:2rem;color:#222}}svg{{display:block;margin:1rem 0}}
th{{text-align:left;padding-right:1rem;font-weight:500;vertical-align:top}}
text{{font-size:11px;fill:#555}}</style>
<h1>Chaos run: {verdict}</h1>
{_faults(happened, seconds, run.healed_s)}
{_bars("transfers a second", {s: float(n) for s, n in rate.items()}, seconds, "#2e7d32")}
{_bars("median transfer, s", middle, seconds, "#00695c")}
{_bars("slowest transfer, s", slowest, seconds, "#6a1b9a")}
<table>{rows}</table></html>
"""


def _x(at_s: float, seconds: int) -> float:
    return round(at_s / seconds * _WIDTH, 1)


def _faults(happened: list[Happened], seconds: int, healed_s: float) -> str:
    lanes = sorted({fault.kind for fault in happened})
    height = len(lanes) * 24 + _TOP
    healed = _x(healed_s, seconds)
    drawn = [
        f'<line x1="{healed}" y1="0" x2="{healed}" y2="{height}" stroke="#2e7d32">'
        "<title>healed</title></line>"
    ]
    for lane, kind in enumerate(lanes):
        y = lane * 24 + _TOP
        colour = next((c for name, c in _COLOURS.items() if name in kind), "#555")
        drawn.append(f'<text x="0" y="{y - 3}">{kind}</text>')
        for fault in happened:
            if fault.kind == kind:
                x, end = _x(fault.from_s, seconds), _x(fault.to_s, seconds)
                drawn.append(
                    f'<rect x="{x}" y="{y}" width="{max(end - x, 1.5):.1f}" height="6" '
                    f'fill="{colour}" opacity="0.7"><title>{escape(fault.whom)}, '
                    f"{fault.from_s:.1f} to {fault.to_s:.1f} s</title></rect>"
                )
    return f'<svg width="{_WIDTH}" height="{height}">{"".join(drawn)}</svg>'


def _bars(title: str, values: dict[int, float], seconds: int, colour: str) -> str:
    top = max(values.values(), default=1.0) or 1.0
    width = max(_WIDTH / seconds, 0.5)
    bars = "".join(
        f'<rect x="{_x(at, seconds)}" y="{_TOP + _HEIGHT * (1 - value / top):.1f}" '
        f'width="{width:.2f}" height="{_HEIGHT * value / top:.1f}" fill="{colour}"/>'
        for at, value in sorted(values.items())
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT + _TOP}">'
        f'<text x="0" y="12">{title} (0 to {top:.1f})</text>{bars}</svg>'
    )
