"""Dates and times as sources write them: one grammar of formats, and one source of the zones' rules.

``grammar`` has the directives (%d/%m/%Y), ``instants`` makes microseconds of text, ``zones`` knows the time zones.
"""
