"""When an organisation is due, and the process that looks."""
