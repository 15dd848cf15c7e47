"""Full-text search: a weighted tsvector a record in a table beside the mirror, kept up for what changed.

The vectors stand apart from the mirror tables so that loading never waits for them and a new weighting never rewrites a
record.
"""

from medmirror.search.query import Hit, search
from medmirror.search.statements import feeds
from medmirror.search.vectors import flaws, refresh

__all__ = ["Hit", "feeds", "flaws", "refresh", "search"]
