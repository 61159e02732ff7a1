"""Answers: planned in batches, made by a model in this process, a live server or an embedded one, and stored."""
