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

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from gaas.settings import *  # noqa: F403

# The same hash in fewer rounds: a real one takes a fifth of a second, and tests make a thousand.
PBKDF2PasswordHasher.iterations = 1_000

# Each test client has a handler of its own, which would look through all static files where it is made.
WHITENOISE_AUTOREFRESH = True
