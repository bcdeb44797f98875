import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_registry_logins"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="invitation",
            name="invitation_one_stands",
        ),
        migrations.AddField(
            model_name="invitation",
            name="child",
            field=models.ForeignKey(
                blank=True,
                help_text="Which account was put below.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="links",
                to="accounts.account",
            ),
        ),
        migrations.AddField(
            model_name="invitation",
            name="kind",
            field=models.CharField(
                choices=[("MEMBER", "Membership"), ("CHILD", "A child account")], default="MEMBER", max_length=6
            ),
        ),
        migrations.AddField(
            model_name="invitation",
            name="pays_from",
            field=models.CharField(
                choices=[("SELF", "Itself"), ("PARENT", "Its parent")],
                default="SELF",
                help_text="PARENT offers to pay for a child account; who owns that takes it up or not.",
                max_length=6,
            ),
        ),
        migrations.AlterField(
            model_name="invitation",
            name="role",
            field=models.CharField(
                choices=[("VIEWER", "Viewer"), ("MEMBER", "Member"), ("MANAGER", "Manager"), ("OWNER", "Owner")],
                default="MEMBER",
                help_text="Of a member.",
                max_length=8,
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("accepted_at__isnull", True), ("revoked_at__isnull", True)),
                fields=("account", "email", "kind"),
                name="invitation_one_stands",
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("child__isnull", True),
                    models.Q(("accepted_at__isnull", False), ("kind", "CHILD")),
                    _connector="OR",
                ),
                name="invitation_child_of_a_link",
            ),
        ),
    ]
