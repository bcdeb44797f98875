from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ledger", "0003_triggers")]

    operations = [
        migrations.AddField(
            model_name="hold",
            name="spender",
            field=models.CharField(blank=True, default="", help_text="The account that it is for.", max_length=80),
        ),
        migrations.AddIndex(
            model_name="hold",
            index=models.Index(
                condition=models.Q(("spender", ""), _negated=True),
                fields=["spender", "created_at"],
                name="hold_of_spender",
            ),
        ),
        migrations.AddField(
            model_name="cap",
            name="period",
            field=models.CharField(blank=True, default="", help_text="How often it begins anew.", max_length=8),
        ),
        migrations.AddField(
            model_name="cap",
            name="wanted",
            field=models.BigIntegerField(default=0),
            preserve_default=False,
        ),
        migrations.RemoveConstraint(model_name="cap", name="cap_one_per_period"),
        migrations.AddConstraint(
            model_name="cap",
            constraint=models.UniqueConstraint(
                fields=("owner_key", "asset", "period", "starts_at"), name="cap_one_per_period"
            ),
        ),
        migrations.AddConstraint(
            model_name="cap",
            constraint=models.CheckConstraint(
                condition=models.Q(("wanted__gte", 0), ("wanted__lte", models.F("limit"))), name="cap_not_below_wanted"
            ),
        ),
    ]
