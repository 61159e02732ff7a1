"""The main job and what belongs to it: each case answered by a base and its fine-tunes, compared, and evaluated."""
