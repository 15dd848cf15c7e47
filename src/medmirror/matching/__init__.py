"""The same person in two records: found by splink, decided by rules, kept with the evidence, and undone at will.

``fields`` says what is compared and what it is worth, ``scoring`` compares, ``judging`` and ``deciding`` say what
becomes of it, ``clusters`` what is joined in the end; ``run`` does all of it for an organisation, ``decisions`` is for
people.
``identical`` is about another kind of duplicate: equal content under two keys, which is told and never merged.
"""
