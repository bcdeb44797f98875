from django.db import migrations


def note(apps, schema_editor):
    """Note which transactions serve payouts and refunds already; of two that name one, the payout was seen by nodes."""
    Sent = apps.get_model("payments", "SentTransaction")
    payouts = apps.get_model("payments", "Payout").objects.filter(provider="onchain").exclude(provider_id="")
    for pk, place in payouts.values_list("pk", "provider_id"):
        chain_id, _, tx_hash = place.partition(":")
        Sent.objects.get_or_create(chain_id=int(chain_id), tx_hash=tx_hash, defaults={"payout_id": pk})
    refunds = apps.get_model("payments", "Refund").objects.filter(payment__provider="onchain").exclude(method="")
    for pk, method, tx_hash in refunds.values_list("pk", "method", "reference"):
        chain_id = int(method.removeprefix("chain "))
        Sent.objects.get_or_create(chain_id=chain_id, tx_hash=tx_hash, defaults={"refund_id": pk})


class Migration(migrations.Migration):
    dependencies = [("payments", "0013_sent_transactions")]

    operations = [migrations.RunPython(note, migrations.RunPython.noop)]
