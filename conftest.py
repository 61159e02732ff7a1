"""What all tests of this repository may use."""

from hypothesis import settings

pytest_plugins = ["pytester", "plugin_project", "limits_project", "saved_runs"]

settings.register_profile("untimed", deadline=None)  # the first example imports what the others use
settings.load_profile("untimed")
