"""What other packages put into the admin and should not."""

from __future__ import annotations

from django.contrib import admin
from django_dramatiq.models import Task as BrokerTask

# Nothing writes that table (gaas.broker), and staff would see two kinds of "Task".
if admin.site.is_registered(BrokerTask):
    admin.site.unregister(BrokerTask)
