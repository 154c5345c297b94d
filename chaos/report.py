"""The report of a run: numbers as JSON, and a page with faults, rates and latency over time."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from chaos.faults import Happened
from chaos.verdict import Verdict
from chaos.workload import Told

_WIDTH, _TOP, _HEIGHT = 1_200, 20, 160
_COLOURS = {"role": "#c2185b", "broker": "#e67e00", "postgres": "#3f51b5"}


def numbers(
    verdict: Verdict, told: list[Told], happened: list[Happened], seconds: float
) -> dict[str, Any]:
    latencies = sorted(one.told_s - one.asked_s for one in told)

    def percentile(percent: int) -> float:
        return round(latencies[len(latencies) * percent // 100], 3) if latencies else 0.0

    return {
        "good": not verdict.wrong,
        "wrong": verdict.wrong[:100],
        "slow_returns": verdict.slow_returns,
        "seconds": round(seconds),
        "faults": len(happened),
        "faults_by_kind": dict(Counter(fault.kind for fault in happened)),
        "transfers_told": len(told),
        "states_told": dict(Counter(one.state for one in told)),
        "latency_s": {"p50": percentile(50), "p99": percentile(99)},
        "longest_standstill_s": round(verdict.longest_standstill_s, 1),
        "worst_return_after_one_death_s": round(verdict.worst_return_s, 1),
        "settled_after_healing_s": round(verdict.settled_s, 1),
        "audit": msgspec.to_builtins(verdict.report.counts),
        "totals": msgspec.to_builtins(verdict.report.totals),
    }


def write(
    folder: Path,
    found: dict[str, Any],
    told: list[Told],
    happened: list[Happened],
) -> Path:
    """Gives the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    page = folder / "report.html"
    page.write_text(_page(found, told, happened), encoding="utf-8")
    return page


def _page(found: dict[str, Any], told: list[Told], happened: list[Happened]) -> str:
    seconds = max(found["seconds"], 1)
    rate = Counter(int(one.told_s) for one in told)
    slowest: dict[int, float] = {}
    for one in told:
        at = int(one.told_s)
        slowest[at] = max(slowest.get(at, 0.0), one.told_s - one.asked_s)
    verdict = "Nothing was lost or doubled." if found["good"] else "NOT right: see report.json."
    rows = "".join(
        f"<tr><th>{name}</th><td>{found[name]}</td></tr>"
        for name in found
        if name not in ("wrong", "audit", "totals")
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Chaos run</title>
<style>body{{font:14px system-ui;margin:2rem;color:#222}}svg{{display:block;margin:1rem 0}}
th{{text-align:left;padding-right:1rem;font-weight:500}}text{{font-size:11px;fill:#555}}</style>
<h1>Chaos run: {verdict}</h1>
{_faults(happened, seconds)}
{_bars("transfers a second", {s: float(n) for s, n in rate.items()}, seconds, "#2e7d32")}
{_bars("slowest transfer, s", slowest, seconds, "#6a1b9a")}
<table>{rows}</table></html>
"""


def _x(at_s: float, seconds: int) -> float:
    return round(at_s / seconds * _WIDTH, 1)


def _faults(happened: list[Happened], seconds: int) -> str:
    lanes = sorted({fault.kind for fault in happened})
    drawn: list[str] = []
    for lane, kind in enumerate(lanes):
        y = lane * 24 + _TOP
        colour = next((c for name, c in _COLOURS.items() if name in kind), "#555")
        drawn.append(f'<text x="0" y="{y - 3}">{kind}</text>')
        for fault in happened:
            if fault.kind == kind:
                x, end = _x(fault.from_s, seconds), _x(fault.to_s, seconds)
                drawn.append(
                    f'<rect x="{x}" y="{y}" width="{max(end - x, 1.5):.1f}" height="6" '
                    f'fill="{colour}"><title>{fault.whom}</title></rect>'
                )
    return f'<svg width="{_WIDTH}" height="{len(lanes) * 24 + _TOP}">{"".join(drawn)}</svg>'


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
