"""The mapper files of the sources, and the Python functions that they name."""
