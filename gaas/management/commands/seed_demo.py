from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from accounts.models import User
from gaas import demo


class Command(BaseCommand):
    """Make the people of the demo. Idempotent: who is there already stays as they are."""

    help = "Make an admin and two users for the demo, each with a personal account and its welcome hours."

    def handle(self, *args: Any, **options: Any) -> None:
        passwords = demo.log_ins(Path(settings.GAAS_HOME))
        for person in demo.PEOPLE:
            if User.objects.filter(email=person.email).exists():
                self.stdout.write(f"{person.email} is there already")
                continue
            make = User.objects.create_superuser if person.is_admin else User.objects.create_user
            make(person.email, passwords[person.email], name=person.name)
            self.stdout.write(f"{person.email} made")
