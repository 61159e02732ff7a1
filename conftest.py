"""What all tests of this repository may use."""

import gc

from hypothesis import settings

pytest_plugins = [
    "pytester",
    *(f"support.{name}" for name in ("brief_looks", "plugin_project", "limits_project", "saved_runs")),
]

settings.register_profile("untimed", deadline=None)  # the first example imports what the others use
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """What is imported by now stays: trainings and inner sessions collect all garbage, which took 0.4 s each time."""
    gc.freeze()
