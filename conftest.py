"""What all tests of this repository may use."""

from hypothesis import settings

pytest_plugins = ["pytester", "support.plugin_project", "support.limits_project", "support.saved_runs"]

settings.register_profile("untimed", deadline=None)  # the first example imports what the others use
settings.load_profile("untimed")
