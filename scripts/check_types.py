"""Ask pyright whether every public name of windrow has a type that it knows; pyright is on the PATH.

Not those of ``windrow.trainers``: what they are derived from is other packages', untyped or not installed.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

COMMAND = ("pyright", "--verifytypes", "windrow", "--ignoreexternal", "--outputjson")


def main() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True)
    report = json.loads(done.stdout)["typeCompleteness"]
    wrong = list(unknown(report["symbols"]))
    print(*wrong, f"{len(report['symbols'])} public names, {len(wrong)} without a known type", sep="\n")
    sys.exit(bool(wrong) or not report["symbols"])


def unknown(symbols: list[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each of ``symbols`` that is public and has no known type, with the reasons."""
    for symbol in symbols:
        is_known = symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"]
        if symbol["isExported"] and not is_known and not symbol["name"].startswith("windrow.trainers."):
            yield f"{symbol['name']}: {'; '.join(one['message'] for one in symbol['diagnostics'])}"


if __name__ == "__main__":
    main()
