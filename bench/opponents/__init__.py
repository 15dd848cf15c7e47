"""How people load such files today, on the same data: the measure of medmirror's own speed.

Each module has ``load(path, dsn) -> rows`` for a PubMed file, most also ``load_studies`` for a ClinicalTrials.gov
array, and can be run: ``python -m bench.opponents.NAME FILE DSN``. Each makes its own schema, with one keyed table of
medmirror's columns and no other index, and reads the fields with the same lxml code (``fields``), which is quicker
than medmirror's own lxml reading.
"""

NAMES = ("classic", "executemany", "dlt_merge", "duckdb_postgres")
