from django.db import migrations

from gaas.lib.emails import normal_email


def write_plainly(apps, schema_editor):
    """Write the domains of addresses as name servers know them; one that somebody else has so already stays."""
    users = apps.get_model("accounts", "User").objects.using(schema_editor.connection.alias)
    for user in users.only("email").iterator(chunk_size=1000):
        email = normal_email(user.email)
        if email != user.email and len(email) <= 254 and not users.filter(email=email).exists():
            users.filter(pk=user.pk).update(email=email)
    invitations = apps.get_model("accounts", "Invitation").objects.using(schema_editor.connection.alias)
    for invitation in invitations.filter(accepted_at=None, revoked_at=None).only("email").iterator(chunk_size=1000):
        email = normal_email(invitation.email)
        if email != invitation.email:
            invitations.filter(pk=invitation.pk).update(revoked_at=invitation.expires_at)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_links")]

    # Back: mail still arrives.
    operations = [migrations.RunPython(write_plainly, migrations.RunPython.noop)]
