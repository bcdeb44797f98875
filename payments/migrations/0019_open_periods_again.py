from django.db import migrations
from django.db.models import F

STILL_HELD = "It is over; what tasks still hold of it lapses when they give it back."


def look_again(apps, schema_editor):
    """Say in a column of open periods what their reason said: that they were carried on, or are over and held."""
    periods = apps.get_model("payments", "ContractPeriod").objects.filter(status="PAID", closed_at__isnull=True)
    periods.exclude(reason="").update(again_at=F("ends_at"))
    periods.filter(reason=STILL_HELD).update(ends_at=F("updated_at"))


class Migration(migrations.Migration):
    dependencies = [("payments", "0018_periods_looked_at_again")]

    operations = [migrations.RunPython(look_again, migrations.RunPython.noop)]
