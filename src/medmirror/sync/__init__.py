"""The incremental engine: fetch what changed since the watermark, store it, move the watermark; push to a
destination."""
