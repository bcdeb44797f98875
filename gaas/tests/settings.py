"""Settings of a test run: the product's own, given what every run needs in its environment.

pytest-django reads settings before it reads conftest.py, so the environment is set here.
"""

import os
import tempfile

os.environ.setdefault("SECRET_KEY", "tests-only-key-of-more-than-fifty-characters-0123456789abcdef")
os.environ.setdefault("GAAS_HOME", tempfile.mkdtemp(prefix="gaas-tests-"))
os.environ.setdefault("LOG_LEVEL", "WARNING")

from gaas.settings import *  # noqa: F403
