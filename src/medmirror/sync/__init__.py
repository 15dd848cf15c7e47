"""The syncs: fetch what changed since the watermark, store it, move the watermark; push it to a destination."""
