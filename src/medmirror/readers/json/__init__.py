"""JSON: its streams, its blocks, and records by Layouts. These names are all that a source needs."""

from medmirror.readers.json.blocks import split
from medmirror.readers.json.layout import Field, Layout
from medmirror.readers.json.outlines import Outline, outline, whole_stream
from medmirror.readers.json.record import Records

__all__ = ["Field", "Layout", "Outline", "Records", "outline", "split", "whole_stream"]
