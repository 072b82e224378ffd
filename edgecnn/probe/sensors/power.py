"""Power of the board, from that of its rails."""

from __future__ import annotations

from typing import Any

MEASURED, SUMMED, ESTIMATED = "measured", "sum of rails", "estimated"
TOTALS = ("VDD_IN", "POM_5V_IN", "VIN")
"""The input of the boards that have a rail for it: Orin NX and Nano, Xavier NX; Nano; Thor."""
SUMS = (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),)
"""AGX Orin has none; these add up to the board."""


def board_power(rails_w: dict[str, float], plan: dict[str, Any]) -> dict[str, Any]:
    """`power_w` and `power_source`, or nothing when the rails do not tell.

    `plan` says which rails: `total` one, `sum` several, `estimate` a fit `{slope, offset_w}` over all of them.
    """
    fit = plan.get("estimate")
    if fit:
        watts = fit["slope"] * sum(rails_w.values()) + fit["offset_w"]
        return {"power_w": round(watts, 4), "power_source": ESTIMATED}
    wanted = plan.get("total")
    for total in TOTALS if wanted is None else (wanted,):
        if total in rails_w:
            return {"power_w": rails_w[total], "power_source": MEASURED}
    for names in (tuple(plan["sum"]),) if plan.get("sum") else SUMS:
        if all(name in rails_w for name in names):
            return {"power_w": round(sum(rails_w[name] for name in names), 4), "power_source": SUMMED}
    return {}
