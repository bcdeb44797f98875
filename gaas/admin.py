"""The admin as a whole: what its first page is called, how nothing is shown, and what does not belong there."""

from __future__ import annotations

from django.contrib import admin
from django_dramatiq.models import Task as BrokerTask

admin.site.index_title = "Overview"
admin.site.empty_value_display = "—"

# Nothing writes that table (gaas.broker), and staff would see two kinds of "Task".
if admin.site.is_registered(BrokerTask):
    admin.site.unregister(BrokerTask)
