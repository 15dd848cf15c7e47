"""The version of medmirror: pyproject.toml takes it from here, the ledger and the service name it."""

__version__ = "0.3.0"
