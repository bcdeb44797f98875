"""Settings of a test run: the product's own, given what every run needs in its environment.

pytest-django reads settings before it reads conftest.py, so the environment is set here.
"""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("SECRET_KEY", "tests-only-key-of-more-than-fifty-characters-0123456789abcdef")
if "GAAS_HOME" not in os.environ:
    os.environ["GAAS_HOME"] = home = tempfile.mkdtemp(prefix="gaas-tests-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
os.environ.setdefault("LOG_LEVEL", "WARNING")
# A developer's own settings are not those of a test run.
os.environ.setdefault("ENV_FILE", os.devnull)

from gaas.settings import *  # noqa: F403
