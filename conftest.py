"""What every test run needs before Django reads its settings."""

import os
import tempfile

os.environ.setdefault("SECRET_KEY", "tests-only-key-of-more-than-fifty-characters-0123456789abcdef")
os.environ.setdefault("GAAS_HOME", tempfile.mkdtemp(prefix="gaas-tests-"))
os.environ.setdefault("LOG_LEVEL", "WARNING")
