"""Drawings, each made once."""
