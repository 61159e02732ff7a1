"""From rows and a base to an adapter, the proof that its training learns, and trainings side by side."""
