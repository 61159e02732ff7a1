"""Simulated users of a live server, trials of their number, and the search for how many it holds."""
