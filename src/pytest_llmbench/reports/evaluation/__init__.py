"""The reports of an evaluation: its words, its figure, and writing its files."""
