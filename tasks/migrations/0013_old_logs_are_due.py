from __future__ import annotations

import gzip
from typing import Any

from django.core.files.storage import default_storage
from django.db import migrations
from django.db.models import F

CHUNK_BYTES = 256 * 1024


def call_for_packing(apps: Any, schema_editor: Any) -> None:
    """Have the logs of attempts that have ended packed, too, the oldest first."""
    ended = apps.get_model("tasks", "Attempt").objects.filter(ended_at__isnull=False, log_size__gt=0)
    ended.filter(log_pack_due_at__isnull=True).update(log_pack_due_at=F("ended_at"))


def unpack(apps: Any, schema_editor: Any) -> None:
    """Make rows of all archives again: what this leads back to reads nothing else."""
    archives, chunks = apps.get_model("tasks", "LogArchive"), apps.get_model("tasks", "LogChunk")
    for archive in archives.objects.filter(is_kept=True).iterator(chunk_size=16):
        with default_storage.open(archive.key) as kept:
            data = gzip.decompress(kept.read())
        for offset in range(0, len(data), CHUNK_BYTES):
            chunks.objects.create(
                attempt_id=archive.attempt_id, offset=offset, data=data[offset : offset + CHUNK_BYTES]
            )
        archives.objects.filter(pk=archive.pk).update(is_kept=False)


class Migration(migrations.Migration):
    dependencies = [
        ("tasks", "0012_log_archives"),
    ]

    operations = [
        migrations.RunPython(call_for_packing, unpack),
    ]
