"""Answers from many machines: engines in actors of a Ray cluster, and one who keeps count of what was asked of whom."""
