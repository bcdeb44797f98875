"""What is sealed opens for its purpose alone, and shows itself to nobody."""

from __future__ import annotations

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from gaas.lib.sealed import SHOWN, Sealed, SealedField, Unsealable, seal

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class TestSealed:
    @given(json_values)
    def test_it_opens_to_what_was_sealed(self, value):
        assert Sealed(seal(value, purpose="test").token, "test").open() == value

    def test_it_opens_for_no_other_purpose(self):
        with pytest.raises(Unsealable):
            Sealed(seal("hunter2", purpose="test").token, "other").open()

    @pytest.mark.parametrize("token", ["", "x", "é", "gAAAAA", "AAAA" * 40])
    def test_a_damaged_one_says_so(self, token):
        with pytest.raises(Unsealable):
            Sealed(token, "test").open()

    def test_it_opens_after_a_change_of_the_key_while_the_old_one_is_listed(self, settings):
        sealed = seal("hunter2", purpose="test")
        old, settings.SECRET_KEY = settings.SECRET_KEY, "another key"
        with pytest.raises(Unsealable):
            sealed.open()
        settings.SECRET_KEY_FALLBACKS = [old]
        assert sealed.open() == "hunter2"

    def test_it_is_never_shown(self):
        sealed = seal("hunter2", purpose="test")
        assert str(sealed) == f"{sealed}" == SHOWN
        assert "hunter2" not in repr(sealed)


class TestSealedField:
    def test_it_takes_sealed_values_alone(self):
        field = SealedField(purpose="test", blank=True)
        sealed = seal("hunter2", purpose="test")
        assert field.get_prep_value(sealed) == sealed.token
        assert "hunter2" not in sealed.token
        assert field.get_prep_value(None) == ""
        with pytest.raises(TypeError):
            field.get_prep_value("hunter2")

    def test_it_gives_back_what_opens(self):
        field = SealedField(purpose="test", blank=True)
        sealed = seal({"A": "b"}, purpose="test")
        assert field.from_db_value(sealed.token, None, connection).open() == {"A": "b"}
        assert field.from_db_value("", None, connection) is None

    def test_it_is_in_no_form(self):
        field = SealedField(purpose="test", blank=True)
        assert not field.editable
        assert field.clone().purpose == "test"
