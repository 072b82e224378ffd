"""What quantizing costs: CPU seconds and peak memory of edgecnn's calibration at 50, 100 and 200 images."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jobs
import records
from inputs import arguments, real_data

COUNTS = (50, 100, 200)
CPU_LIMIT_S, MEMORY_LIMIT_BYTES, FLAT = 90.0, 1.5e9, 1.1
FORMATS = ("onnx", "tflite")


def main() -> None:
    """Each point is a process of its own that starts from an exported file, so exporting and torch are not in it."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    options = parser.parse_args()
    data = real_data(options)
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="edgecnn-bench-") as folder:
        for format in FORMATS:
            source = Path(folder) / f"fp32.{format}"
            jobs.job("export", {"weights": str(data.weights), "format": format, "out": str(source)})
            for count in options.counts:
                settings = {"images": str(data.images), "source": str(source), "format": format, "count": count}
                cost, told = jobs.job("ours", {**settings, "out": str(Path(folder) / f"int8.{format}")})
                points.append({"format": format, "images": count, **jobs.to_dict(cost), **told})
    goals = [goal for format in FORMATS for goal in _goals(format, points)]
    records.table(
        "calibration and writing, EfficientNet-Lite0 at 224x224",
        ("format", "images", "CPU s", "wall s", "peak memory MB"),
        [(p["format"], p["images"], f"{p['cpu_s']:.1f}", f"{p['wall_s']:.1f}", _megabytes(p)) for p in points],
    )
    records.print_goals(goals)
    records.save("calibration", {"points": points}, settings={"counts": options.counts}, goals=goals)


def _goals(format: str, points: list[dict[str, Any]]) -> list[records.Goal]:
    mine = [point for point in points if point["format"] == format]
    most = max(mine, key=lambda point: point["images"])
    least = min(mine, key=lambda point: point["images"])
    growth = most["peak_rss_bytes"] / least["peak_rss_bytes"]
    at = f"{format}, {most['images']} images"
    return [
        records.Goal(f"CPU, {at}", "under 90 s", f"{most['cpu_s']:.1f} s", most["cpu_s"] < CPU_LIMIT_S),
        records.Goal(
            f"peak memory, {at}",
            "under 1.5 GB",
            f"{most['peak_rss_bytes'] / 1e9:.2f} GB",
            most["peak_rss_bytes"] < MEMORY_LIMIT_BYTES,
        ),
        records.Goal(
            f"memory, {format}, {least['images']} to {most['images']} images",
            "flat (within 10 %)",
            f"x{growth:.2f}",
            growth < FLAT,
        ),
    ]


def _megabytes(point: dict[str, Any]) -> str:
    return f"{point['peak_rss_bytes'] / 1e6:.0f}"


if __name__ == "__main__":
    records.leave(main)
