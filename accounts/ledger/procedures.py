"""Hold and capture as one statement each, on PostgreSQL: what every task does, without a round trip for each row.

Each does just what the verb of its name does where nothing stands in the way, by the same conditions in the same order
of locks (hold, balances by ascending id, caps by ascending id, inserts), and otherwise nothing: it returns NULL and the
verb goes its longer way, which also knows what to say. So no rule is here alone, and SQLite needs none of this.

The migration installs them. A later migration that changes a column named here runs `install` again at its end.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.ledger.choices import LIMIT

_FUNCTIONS = {
    "ledger_hold(uuid, uuid, bigint, text, text, text, text, timestamptz, timestamptz)": """
CREATE OR REPLACE FUNCTION ledger_hold(the_id uuid, payer uuid, wanted bigint, the_key text, the_purpose text,
    the_ref text, the_spender text, until timestamptz, at timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM ledger_hold WHERE key = the_key) THEN
        RETURN NULL;
    END IF;
    UPDATE ledger_balance SET held = held + wanted, updated_at = statement_timestamp()
    WHERE id = payer AND (floor IS NULL OR posted - held >= floor + wanted) AND posted >= wanted - %LIMIT%
      AND held <= %LIMIT% - wanted AND NOT frozen_out AND closed_at IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO ledger_hold (id, created_at, updated_at, balance_id, key, opened_with, amount, captured, released,
        state, purpose, ref, spender, expires_at)
    VALUES (the_id, at, at, payer, the_key, wanted, wanted, 0, 0, 'open', the_purpose, the_ref, the_spender, until)
    ON CONFLICT (key) DO NOTHING;
    IF NOT FOUND THEN
        -- Somebody stored this key since we looked.
        UPDATE ledger_balance SET held = held - wanted WHERE id = payer;
        RETURN NULL;
    END IF;
    RETURN TRUE;
END $$""",
    "ledger_capture(uuid, jsonb, boolean, text)": """
CREATE OR REPLACE FUNCTION ledger_capture(the_hold uuid, legs jsonb, final boolean, the_actor text,
    OUT payer uuid, OUT asset text, OUT hold_key text, OUT at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
    h ledger_hold%ROWTYPE;
    total numeric := (SELECT sum((leg ->> 'amount')::bigint) FROM jsonb_array_elements(legs) leg);
    credits uuid[] := ARRAY(SELECT (leg ->> 'credit')::uuid FROM jsonb_array_elements(legs) leg);
    rest bigint;
    part record;
BEGIN
    SELECT * INTO h FROM ledger_hold WHERE id = the_hold FOR NO KEY UPDATE;
    IF NOT FOUND OR h.state <> 'open' OR total > h.amount - h.captured - h.released
       OR EXISTS (SELECT 1 FROM ledger_transfer WHERE key = ANY (
           ARRAY(SELECT leg ->> 'key' FROM jsonb_array_elements(legs) leg))) THEN
        RETURN;
    END IF;
    SELECT b.asset_id INTO asset FROM ledger_balance b WHERE b.id = h.balance_id;
    IF EXISTS (SELECT 1 FROM ledger_balance b WHERE b.id = ANY (credits) AND (b.frozen_in OR b.closed_at IS NOT NULL
               OR b.asset_id <> asset OR b.id = h.balance_id OR b.posted > %LIMIT% - total)) THEN
        RETURN;
    END IF;
    rest := CASE WHEN final THEN h.amount - h.captured - h.released - total ELSE 0 END;
    UPDATE ledger_hold SET captured = captured + total::bigint, released = released + rest,
        updated_at = statement_timestamp(), state = CASE WHEN final THEN 'captured' ELSE state END,
        closed_at = CASE WHEN final THEN statement_timestamp() ELSE closed_at END WHERE id = the_hold;
    FOR part IN
        SELECT leg.credit AS id, sum(leg.amount)::bigint AS amount
        FROM jsonb_to_recordset(legs) AS leg(credit uuid, amount bigint) GROUP BY leg.credit
        UNION ALL SELECT h.balance_id, 0 ORDER BY id
    LOOP
        IF part.id = h.balance_id THEN
            UPDATE ledger_balance SET posted = posted - total::bigint, held = held - (total::bigint + rest),
                updated_at = statement_timestamp() WHERE id = part.id;
        ELSE
            -- Of a platform's balance nothing is stored; who froze the other since we looked has the verb begin anew.
            UPDATE ledger_balance SET posted = posted + part.amount, updated_at = statement_timestamp()
            WHERE id = part.id AND posted <= %LIMIT% - part.amount AND NOT frozen_in AND closed_at IS NULL;
            IF NOT FOUND AND NOT EXISTS (SELECT 1 FROM ledger_balance
                                         WHERE id = part.id AND posted IS NULL AND NOT frozen_in) THEN
                RAISE EXCEPTION 'the payee % takes nothing any more', part.id
                    USING ERRCODE = 'serialization_failure';
            END IF;
        END IF;
    END LOOP;
    IF rest > 0 THEN
        FOR part IN SELECT cap_id AS id FROM ledger_holdcap WHERE hold_id = the_hold ORDER BY cap_id LOOP
            UPDATE ledger_cap SET used = used - rest, "limit" = GREATEST(wanted, used - rest),
                updated_at = statement_timestamp() WHERE id = part.id;
        END LOOP;
    END IF;
    INSERT INTO ledger_transfer (id, key, kind, asset_id, debit_id, credit_id, amount, hold_id, "group", ref, actor,
        memo, effective_at, created_at)
    SELECT leg.id, leg.key, leg.kind, asset, h.balance_id, leg.credit, leg.amount, the_hold, h.key, leg.ref, the_actor,
        leg.memo, statement_timestamp(), statement_timestamp()
    FROM jsonb_to_recordset(legs)
        AS leg(id uuid, key text, kind text, credit uuid, amount bigint, ref text, memo text);
    payer := h.balance_id;
    hold_key := h.key;
    at := statement_timestamp();
END $$""",
}


def install(connection: BaseDatabaseWrapper) -> None:
    """Put them in place on PostgreSQL, whether or not they are there; elsewhere there are none."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for body in _FUNCTIONS.values():
                cursor.execute(body.replace("%LIMIT%", str(LIMIT)))


def remove(connection: BaseDatabaseWrapper) -> None:
    """Take them away; for the migration's way back."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for signature in _FUNCTIONS:
                cursor.execute(f"DROP FUNCTION IF EXISTS {signature}")
