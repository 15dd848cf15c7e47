"""Deduplication: records of the same person, found by splink, decided by rules, stored with evidence, and undoable.

``fields`` holds the model, ``scoring`` compares, ``judging`` gives a verdict on a pair, ``deciding`` decides on all
pairs together, ``clusters`` forms the groups; ``run`` does all of it for an organisation; ``decisions`` is for people.
``identical`` reports another kind of duplicate: equal content under two keys, which is never merged.
"""
