"""Fitting the model's figures to an organisation's own records, by splink's expectation maximisation.

m comes from pairs that agree on a strong field, one field after the other. u comes from random pairs, but not for the
fields that a household shares: a random pair is hardly ever of one household, and the candidate pairs often are. A
level with too little data keeps the figure that medmirror brings; so does a level whose figures would contradict its
meaning (a difference that speaks for a match).
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, Engine

from medmirror.errors import UsageError
from medmirror.matching import scoring, store
from medmirror.matching.fields import AGREE, DIFFER, FIELDS
from medmirror.matching.run import running, with_dedup_lock
from medmirror.matching.scoring import Figures
from medmirror.matching.store import Scope

LEAST = 5_000  #: records; in fewer, too few people are there twice
_PAIRS = 1_000_000  # random ones
_SEED = 1
_OWN = frozenset({"family", "given", "middle", "birth_date", "sex"})  # fields that a household does not share
_RULES = ("l.birth_date = r.birth_date AND l.family = r.family", "l.given = r.given AND l.family = r.family",
          "l.phone = r.phone AND l.given = r.given")  # fmt: skip


def train(engine: Engine, organization: str, entity: str, *, reset: bool = False) -> Figures | None:
    """Fit the figures of *entity* to the records of *organization*; store and return them.

    With *reset* the stored figures are deleted, and None is returned. Holds lock 12347. Raises LockRaceLost, and
    UsageError for fewer than 5,000 records.
    """
    scope = Scope(organization, entity)
    with running(engine, "dedup train", {"organization": organization, "entity": entity, "reset": reset}) as result:
        figures: Figures | None = with_dedup_lock(engine, lambda conn: _train(conn, scope, result.run_id, reset))
    return figures


def _train(conn: Connection, scope: Scope, run_id: int, reset: bool) -> Figures | None:
    store.enter(conn, scope.organization)
    figures = None if reset else _fit(conn, scope)
    store.keep_figures(conn, scope, figures, run_id)
    return figures


def _fit(conn: Connection, scope: Scope) -> Figures:
    records, _ = store.begin_input(conn, scope, b"", True)
    if records < LEAST:
        raise UsageError(
            f"{scope.organization} has {records:,} records of {scope.entity}; training needs {LEAST:,}. The figures"
            " that medmirror brings are used."
        )
    with scoring.open_scorer(scope.entity) as scorer:
        scorer.take(store.read(conn, scope.entity))
        linker = scorer.linker()
        logging.getLogger("splink").setLevel(logging.ERROR)
        linker.training.estimate_u_using_random_sampling(max_pairs=_PAIRS, seed=_SEED)
        for rule in _RULES:
            linker.training.estimate_parameters_using_expectation_maximisation(rule, fix_u_probabilities=True)
        return _figures(scope.entity, linker.misc.save_model_to_json())


def _figures(entity: str, model: dict[str, Any]) -> Figures:
    """The trained figures by "field.level", without those that contradict the meaning of their level."""
    figures: dict[str, tuple[float, float]] = {}
    trained = {
        comparison["output_column_name"]: comparison["comparison_levels"][1:] for comparison in model["comparisons"]
    }
    for field in FIELDS[entity]:
        for level, trained_level in zip(field.levels, trained[field.name], strict=True):
            if level.m == level.u:
                continue  # meant to say nothing
            m = trained_level.get("m_probability", level.m)
            u = trained_level.get("u_probability", level.u) if field.name in _OWN else level.u
            sane = 0 < u < 1 and 0 < m < 1 and (level.says != AGREE or m > u) and (level.says != DIFFER or m < u)
            if sane and (m, u) != (level.m, level.u):
                figures[f"{field.name}.{level.name}"] = (round(m, 8), max(round(u, 8), 1e-7))
    return figures
