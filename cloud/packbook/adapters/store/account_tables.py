"""Tables of tenants, accounts and keys: who may sign in, how far he sees, and what was done about it.

Never made anew from the ledger. No secret can be read from them: passwords are argon2id hashes, tokens and codes are
digests, TOTP secrets are sealed with a key that lies in a file (`adapters.account_vault`).
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from packbook.adapters.store.tables import metadata

_ID: Final = sa.String(16)  # hex digits
_NAME: Final = sa.String(64)
_DIGEST: Final = sa.LargeBinary(32)  # SHA-256
_MS: Final = sa.BigInteger
_ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer, "sqlite")

tenant: Final = sa.Table(
    "tenant",
    metadata,
    sa.Column("tenant", _NAME, primary_key=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("made_ms", _MS, nullable=False),
)

fleet: Final = sa.Table(
    "fleet",  # one that is not here is the first tenant's
    metadata,
    sa.Column("fleet", _NAME, primary_key=True),
    sa.Column("tenant", _NAME, nullable=False),
    sa.Index("fleet_by_tenant", "tenant"),
)

account: Final = sa.Table(
    "account",
    metadata,
    sa.Column("account", _ID, primary_key=True),
    sa.Column("login", sa.String(254), nullable=False, unique=True),  # as core.accounts.login_of makes it
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("tenant", _NAME, nullable=False),
    sa.Column("role", _ID, nullable=False),
    sa.Column("language", sa.String(8)),
    sa.Column("password", sa.Text),  # argon2id; NULL: none set yet
    sa.Column("totp", sa.LargeBinary),  # sealed; NULL: no second step
    sa.Column("totp_step", _MS),  # of the newest code taken: none is taken twice
    sa.Column("made_ms", _MS, nullable=False),
    sa.Column("disabled_ms", _MS),
    sa.Index("account_by_tenant", "tenant"),
)

account_battery: Final = sa.Table(
    "account_battery",  # what an owner sees
    metadata,
    sa.Column("account", _ID, primary_key=True),
    sa.Column("battery", _NAME, primary_key=True),
)

external_identity: Final = sa.Table(
    "external_identity",  # who says at another's door that he is this account
    metadata,
    sa.Column("issuer", sa.String(254), primary_key=True),
    sa.Column("subject", sa.String(254), primary_key=True),
    sa.Column("account", _ID, nullable=False),
    sa.Column("since_ms", _MS, nullable=False),
    sa.Column("mapped", sa.Boolean, nullable=False, server_default=sa.false()),  # made by a rule, and follows the rules
    sa.Index("external_identity_by_account", "account"),
)

sign_in_session: Final = sa.Table(
    "sign_in_session",
    metadata,
    sa.Column("digest", _DIGEST, primary_key=True),
    sa.Column("account", _ID, nullable=False),
    sa.Column("made_ms", _MS, nullable=False),
    sa.Column("seen_ms", _MS, nullable=False),
    sa.Column("until_ms", _MS, nullable=False),  # in any case
    sa.Column("half", sa.Boolean, nullable=False),  # the password was right; the second step is still to come
    sa.Column("device", sa.Text, nullable=False),  # what the browser calls itself
    sa.Column("address", _ID, nullable=False),  # keyed hash
    sa.Index("sign_in_session_by_account", "account"),
)

recovery_code: Final = sa.Table(
    "recovery_code",
    metadata,
    sa.Column("account", _ID, primary_key=True),
    sa.Column("digest", _DIGEST, primary_key=True),
)

invitation: Final = sa.Table(
    "invitation",
    metadata,
    sa.Column("digest", _DIGEST, primary_key=True),
    sa.Column("account", _ID, nullable=False),
    sa.Column("expires_ms", _MS, nullable=False),
    sa.Index("invitation_by_account", "account"),
)

api_key: Final = sa.Table(
    "api_key",
    metadata,
    sa.Column("digest", _DIGEST, primary_key=True),
    sa.Column("prefix", _ID, nullable=False, unique=True),
    sa.Column("account", _ID, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("made_ms", _MS, nullable=False),
    sa.Column("expires_ms", _MS),
    sa.Column("used_ms", _MS),
    sa.Column("revoked_ms", _MS),
    sa.Index("api_key_by_account", "account"),
)

account_act: Final = sa.Table(
    "account_act",  # only ever added to
    metadata,
    sa.Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("at_ms", _MS, nullable=False),
    sa.Column("act", sa.String(32), nullable=False),
    sa.Column("tenant", _NAME),
    sa.Column("account", _ID),  # whom it is about
    sa.Column("who", sa.Text, nullable=False),  # who did it
    sa.Column("address", _ID),  # keyed hash of where he sat
    sa.Column("detail", sa.Text, nullable=False),
    sa.Index("account_act_by_account", "account", "at_ms"),
    sa.Index("account_act_by_tenant", "tenant", "at_ms"),
)
