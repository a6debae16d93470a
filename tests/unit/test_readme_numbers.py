"""The README's table of the ablation is that of the results beside it."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_ablations_table_shows_the_committed_results() -> None:
    results = json.loads((ROOT / "scripts" / "ablation" / "results.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(results["rows"]) == 7
    for row in results["rows"]:
        (line,) = (line for line in readme if line.startswith(f"| {row['title']} | "))
        shown = [cell.strip() for cell in line.split("|")[2:5]]
        wanted = [("placed", None), ("placed", 2), ("unplaced", None)]
        numbers = {
            (each["captions"], each["subjects"]): each
            for each in row["numbers"]
            if each["measure"] == "binding" and each["nouns"] is None
        }
        assert shown == [
            f"{numbers[key]['mean']:.2f} ({numbers[key]['low']:.2f} to {numbers[key]['high']:.2f})" for key in wanted
        ]
        assert row["seeds"] == [0, 1, 2]
