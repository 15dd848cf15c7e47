"""Load everything a folder of downloads holds, one publisher after the other, and say what is left to look at.

    python scripts/bulk_load.py /data/downloads            # its subfolders pubmed/, clinicaltrials/, openfda/

Run it again whenever new files have come: what is loaded is skipped. MEDMIRROR_DSN names the database.
"""

from __future__ import annotations

import sys
from pathlib import Path

import medmirror
from medmirror.errors import MedmirrorError


def main(root: Path) -> int:
    """Load the subfolders of *root* that are named like a source; return the exit code."""
    worst = 0
    for source in ("pubmed", "clinicaltrials", "openfda"):
        folder = root / source
        if not folder.is_dir():
            continue
        try:
            result = medmirror.load(source, folder, index=True)
        except MedmirrorError as error:  # this source failed as a whole; the others may still load
            print(f"{source}: {error}", file=sys.stderr)
            worst = max(worst, 1)
            continue
        print(
            f"{source}: {result.read:,} read, {result.inserted:,} new, {result.updated:,} updated, "
            f"{result.tombstoned:,} deleted, {result.rejected:,} rejected in {result.seconds:.0f} s"
        )
        for file in result.files:
            if file.status == "refused":
                print(f"  refused: {file.path}: {file.reason}", file=sys.stderr)
        worst = max(worst, result.exit_code)
    return worst


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
