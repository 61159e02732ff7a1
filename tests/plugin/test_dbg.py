from plugin_project import Project
from test_faults import SMALL_MEMORY
import logging
def test_x(project: Project):
    project.backend("batch_size=6, before_batch=refuse", more=SMALL_MEMORY.replace("LARGEST", "2"))
    r = project.run_alone()
    r.assert_outcomes(passed=6)
def test_y(project: Project):
    print(logging.getLogger("pytest_llmbench").handlers)
    project.backend("batch_size=6, before_batch=refuse", more=SMALL_MEMORY.replace("LARGEST", "2"))
    r = project.run()
    r.assert_outcomes(passed=6)
