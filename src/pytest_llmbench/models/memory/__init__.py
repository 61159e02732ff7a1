"""How much memory a model takes, read from its shapes alone."""
