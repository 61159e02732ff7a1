"""What all tests of this repository may use."""

pytest_plugins = ["pytester", "plugin_project", "limits_project", "saved_runs"]
