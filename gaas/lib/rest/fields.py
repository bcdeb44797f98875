"""Fields that take exactly what they say: no float as an amount, no "1_0" as a number, no NUL in a text."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.utils import html

from gaas.lib.amounts import MAX_INTEGER, NotExact, hours_to_ms, parse_micro, show_hours, show_micro

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
# C0 and C1 controls, line and paragraph separators, and the marks that turn the direction of a text
# round so that it reads as another one.
_ONE_LINE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_MANY_LINES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class _AmountField(serializers.Field):
    """Read an exact decimal; `allow_zero` and `most` (in the stored unit) bound it."""

    unit = ""
    default_error_messages = {
        "not_exact": 'Give a decimal string such as "2.500000" or a JSON integer.',
        "min_value": "Give a {unit} greater than zero.",
        "max_value": "Give a smaller {unit}: at most {most}.",
    }

    def __init__(self, *, allow_zero: bool = False, most: int = MAX_INTEGER, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.allow_zero = allow_zero
        self.most = most

    def run_validation(self, data: Any = empty) -> Any:
        if data is None and not self.allow_null:
            self.fail("not_exact")
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> int:
        try:
            micro = parse_micro(data)
        except NotExact as problem:
            raise serializers.ValidationError(str(problem), code="not_exact") from problem
        amount = self.from_micro(micro)
        if amount > self.most:
            self.fail("max_value", unit=self.unit, most=self.to_representation(self.most))
        if amount <= 0 and not (self.allow_zero and micro == 0):
            self.fail("min_value", unit=self.unit)
        return amount

    def from_micro(self, micro: int) -> int:
        raise NotImplementedError


class HoursField(_AmountField):
    """Hours outside, milliseconds inside: "2.500000" ↔ 9 000 000; shown rounded down."""

    unit = "number of hours"

    def from_micro(self, micro: int) -> int:
        return hours_to_ms(micro)

    def to_representation(self, value: int) -> str:
        return show_hours(value)


class UsdField(_AmountField):
    """Dollars outside, micro-dollars inside: "1.250000" ↔ 1 250 000."""

    unit = "number of dollars"

    def from_micro(self, micro: int) -> int:
        return micro

    def to_representation(self, value: int) -> str:
        return show_micro(value)


class TextField(serializers.CharField):
    """Take a JSON string of at most `max_length` characters without control characters.

    `lines=True` keeps line breaks and tabs, and the blanks around the text.
    """

    default_error_messages = {
        "invalid": "Give a string.",
        "control_character": "The text has a control character or a mark that turns its direction. Leave it out.",
    }

    def __init__(self, *, max_length: int, lines: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", not lines)
        if lines:
            kwargs.setdefault("style", {"base_template": "textarea.html"})
        super().__init__(max_length=max_length, **kwargs)
        self._refused = _MANY_LINES if lines else _ONE_LINE

    def to_internal_value(self, data: Any) -> str:
        # CharField would make a text of a number.
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        if self._refused is _MANY_LINES and text and not self.allow_blank and not text.strip():
            self.fail("blank")
        if len(text) <= (self.max_length or 0) and self._refused.search(text):
            self.fail("control_character")
        return text


class NetworkField(TextField):
    """Take an address or a network, and write it the one way it is kept: "10.1.2.3" → "10.1.2.3/32"."""

    default_error_messages = {"invalid": "Give an address or a network such as 192.0.2.0/24 or 2001:db8::/32."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=64, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            self.fail("invalid")


class StrictIntegerField(serializers.Field):
    """Take a JSON integer within bounds; a browser's form may send plain digits.

    IntegerField takes "1_0", "１２" and 3.0 too.
    """

    default_error_messages = {
        "invalid": "Give a JSON integer.",
        "min_value": "Give a number of at least {min_value}.",
        "max_value": "Give a number of at most {max_value}.",
    }

    def __init__(self, *, min_value: int = -MAX_INTEGER - 1, max_value: int = MAX_INTEGER, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_value = min_value
        self.max_value = max_value

    def get_value(self, dictionary: Any) -> Any:
        value = super().get_value(dictionary)
        if html.is_html_input(dictionary) and isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            return int(value)
        return value

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        if data < self.min_value:
            self.fail("min_value", min_value=self.min_value)
        if data > self.max_value:
            self.fail("max_value", max_value=self.max_value)
        return data

    def to_representation(self, value: int) -> int:
        return int(value)


class StrictBooleanField(serializers.BooleanField):
    """Take true or false; a browser's form may send its words for them."""

    default_error_messages = {"invalid": "Give true or false."}

    def get_value(self, dictionary: Any) -> Any:
        value = super().get_value(dictionary)
        if html.is_html_input(dictionary) and isinstance(value, str):
            return {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}.get(
                value.lower(), value
            )
        return value

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class LabelsField(serializers.DictField):
    """Take a flat object of short texts, at most `most` of them: {"rack": "b3"}."""

    default_error_messages = {
        "too_many": "Give at most {most} labels.",
        "bad_key": "A key has 1 to 63 letters, digits, dots, slashes, underscores or dashes: {name!r} has not.",
    }

    _key = RegexValidator(re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?\Z", re.ASCII))

    def __init__(self, *, most: int = 32, **kwargs: Any) -> None:
        kwargs.setdefault("child", TextField(max_length=200, allow_blank=True))
        super().__init__(**kwargs)
        self.most = most

    def to_internal_value(self, data: Any) -> dict[str, str]:
        labels: dict[str, str] = super().to_internal_value(data)
        if len(labels) > self.most:
            self.fail("too_many", most=self.most)
        for key in labels:
            if not self._key.regex.match(key):
                self.fail("bad_key", name=key[:64])
        return labels
