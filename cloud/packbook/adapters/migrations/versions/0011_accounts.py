"""Tenants, accounts, sessions, keys, and to which tenant each battery belongs: so far all to the first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

ID = sa.String(length=16)
NAME = sa.String(length=64)
DIGEST = sa.LargeBinary(length=32)
MS = sa.BigInteger
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FIRST_TENANT = "main"


def upgrade() -> None:
    _tenants()
    _accounts()
    _ways_in()
    op.create_table(
        "account_act",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("at_ms", MS(), nullable=False),
        sa.Column("act", sa.String(length=32), nullable=False),
        sa.Column("tenant", NAME),
        sa.Column("account", ID),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("address", ID),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("account_act_by_account", "account_act", ["account", "at_ms"])
    op.create_index("account_act_by_tenant", "account_act", ["tenant", "at_ms"])


def _tenants() -> None:
    op.create_table(
        "tenant",
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("made_ms", MS(), nullable=False),
        sa.PrimaryKeyConstraint("tenant"),
    )
    op.create_table(
        "fleet",
        sa.Column("fleet", NAME, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.PrimaryKeyConstraint("fleet"),
    )
    op.create_index("fleet_by_tenant", "fleet", ["tenant"])
    op.create_table(
        "battery_tenant",
        sa.Column("battery", NAME, nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("box", ID, nullable=False),
        sa.PrimaryKeyConstraint("battery"),
    )
    op.create_index("battery_tenant_by_tenant", "battery_tenant", ["tenant", "battery"])
    op.create_index("battery_tenant_by_box", "battery_tenant", ["box"])
    op.execute(
        "INSERT INTO battery_tenant (battery, tenant, box) "  # noqa: S608 - a constant of ours
        f"SELECT battery, '{FIRST_TENANT}', box FROM (SELECT battery, box, row_number() OVER (PARTITION BY battery "
        "ORDER BY from_ms DESC NULLS LAST, box DESC, store DESC, seq DESC) AS place FROM installation) AS placed "
        "WHERE place = 1"
    )


def _accounts() -> None:
    op.create_table(
        "account",
        sa.Column("account", ID, nullable=False),
        sa.Column("login", sa.String(length=254), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tenant", NAME, nullable=False),
        sa.Column("role", ID, nullable=False),
        sa.Column("language", sa.String(length=8)),
        sa.Column("password", sa.Text()),
        sa.Column("totp", sa.LargeBinary()),
        sa.Column("totp_step", MS()),
        sa.Column("made_ms", MS(), nullable=False),
        sa.Column("disabled_ms", MS()),
        sa.PrimaryKeyConstraint("account"),
        sa.UniqueConstraint("login"),
    )
    op.create_index("account_by_tenant", "account", ["tenant"])
    op.create_table(
        "account_battery",
        sa.Column("account", ID, nullable=False),
        sa.Column("battery", NAME, nullable=False),
        sa.PrimaryKeyConstraint("account", "battery"),
    )
    op.create_table(
        "external_identity",
        sa.Column("issuer", sa.String(length=254), nullable=False),
        sa.Column("subject", sa.String(length=254), nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("since_ms", MS(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject"),
    )
    op.create_index("external_identity_by_account", "external_identity", ["account"])


def _ways_in() -> None:
    op.create_table(
        "sign_in_session",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("made_ms", MS(), nullable=False),
        sa.Column("seen_ms", MS(), nullable=False),
        sa.Column("until_ms", MS(), nullable=False),
        sa.Column("half", sa.Boolean(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("address", ID, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("sign_in_session_by_account", "sign_in_session", ["account"])
    op.create_table(
        "recovery_code",
        sa.Column("account", ID, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.PrimaryKeyConstraint("account", "digest"),
    )
    op.create_table(
        "invitation",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("expires_ms", MS(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("invitation_by_account", "invitation", ["account"])
    op.create_table(
        "api_key",
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("prefix", ID, nullable=False),
        sa.Column("account", ID, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("made_ms", MS(), nullable=False),
        sa.Column("expires_ms", MS()),
        sa.Column("used_ms", MS()),
        sa.Column("revoked_ms", MS()),
        sa.PrimaryKeyConstraint("digest"),
        sa.UniqueConstraint("prefix"),
    )
    op.create_index("api_key_by_account", "api_key", ["account"])
