"""The HTTP service: API, webhooks, status page."""
