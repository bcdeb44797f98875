"""The WSGI application: everything but the raw routes of `live`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gaas.settings")

application = get_wsgi_application()
