"""System files as the reference system made them: its own tables and nothing else."""

from pathlib import Path

import duckdb

V2 = """
create table schema_version (version integer not null, applied_at timestamp default current_timestamp);
create table users (
    id varchar primary key, email varchar unique not null, name varchar, role varchar default 'analyst',
    password_hash varchar, setup_token varchar, setup_token_created timestamp, reset_token varchar,
    reset_token_created timestamp, created_at timestamp default current_timestamp, updated_at timestamp
);
create table sync_state (
    table_id varchar primary key, last_sync timestamp, rows bigint, file_size_bytes bigint,
    uncompressed_size_bytes bigint, columns integer, hash varchar, status varchar default 'ok', error text
);
create table sync_history (
    id varchar primary key, table_id varchar not null, synced_at timestamp not null, rows bigint, duration_ms integer,
    status varchar, error varchar
);
create table user_sync_settings (
    user_id varchar, dataset varchar, enabled boolean default false, table_mode varchar default 'all', tables json,
    updated_at timestamp, primary key (user_id, dataset)
);
create table knowledge_items (
    id varchar primary key, title varchar not null, content text, category varchar, tags json,
    status varchar default 'pending', contributors json, source_user varchar, audience varchar,
    created_at timestamp default current_timestamp, updated_at timestamp
);
create table knowledge_votes (
    item_id varchar, user_id varchar, vote integer, voted_at timestamp, primary key (item_id, user_id)
);
create table audit_log (
    id varchar primary key, timestamp timestamp not null, user_id varchar, action varchar not null, resource varchar,
    params json, result varchar, duration_ms integer
);
create table telegram_links (user_id varchar primary key, chat_id bigint not null, linked_at timestamp);
create table pending_codes (code varchar primary key, chat_id bigint not null, created_at timestamp not null);
create table script_registry (
    id varchar primary key, name varchar not null, owner varchar, schedule varchar, source text not null,
    deployed_at timestamp, last_run timestamp, last_status varchar
);
create table table_registry (
    id varchar primary key, name varchar not null, source_type varchar, bucket varchar, source_table varchar,
    sync_strategy varchar default 'full_refresh', query_mode varchar default 'local', sync_schedule varchar,
    profile_after_sync boolean default true, primary_key varchar, folder varchar, description text,
    registered_by varchar, registered_at timestamp
);
create table table_profiles (table_id varchar primary key, profile json not null, profiled_at timestamp);
create table dataset_permissions (
    user_id varchar, dataset varchar, access varchar default 'read', primary key (user_id, dataset)
);
insert into schema_version (version) values (2);
"""

V3 = """
alter table table_registry add column if not exists is_public boolean default true;
create table access_requests (
    id varchar primary key, user_id varchar not null, user_email varchar not null, table_id varchar not null,
    reason text, status varchar default 'pending', reviewed_by varchar, reviewed_at timestamp,
    created_at timestamp default current_timestamp
);
update schema_version set version = 3;
"""

PEOPLE = """
insert into users (id, email, name, role, password_hash, created_at) values
    ('u-ann', 'Ann@Example.com', 'Ann', 'admin', 'argon2 of something', '2025-01-01'),
    ('u-bob', 'bob@example.com', null, 'analyst', null, '2025-01-02'),
    ('u-eve', 'eve@example.com', 'Eve', 'superuser', null, '2025-01-03'),
    ('u-bob2', 'BOB@example.com', 'Bob again', 'viewer', null, '2024-12-01');
insert into knowledge_items (id, title) values ('k1', 'Margins are net');
insert into knowledge_votes values ('k1', 'u-bob', 1, '2025-01-05');
insert into audit_log values ('a1', '2025-01-01', 'ann', 'km_approve', 'k1', '{"batch": true}', null, null);
insert into sync_history values ('h1', 'orders', '2025-02-01', 10, null, 'ok', null);
"""

TABLES = """
insert into table_registry
    (id, name, source_type, bucket, source_table, sync_strategy, query_mode, primary_key, folder, description,
     registered_by, registered_at)
values
    ('orders', 'Orders', 'keboola', 'in.c-main', 'orders', 'incremental', 'local', 'Order ID, line', 'f', 'All orders',
     'ann@example.com', '2025-01-01'),
    ('orders_2', 'Orders', 'keboola', 'in.c-old', 'orders', 'full_refresh', 'local', null, null, null, null, '2025-01-02'),
    ('orders_3', 'ORDERS', 'keboola', 'in.c-old', 'orders3', 'partitioned', 'hybrid', '["a", "a", ""]', null, null, null,
     '2025-01-03'),
    ('orders_4', 'orders', 'keboola', null, null, 'incremental', 'local', null, null, null, null, '2025-01-04'),
    ('visits', 'visits', 'bigquery', 'web', 'visits', 'full_refresh', 'remote', null, null, null, null, '2025-01-05'),
    ('čas', 'Čas', 'local', null, null, 'full_refresh', 'local', 'day', null, null, null, null),
    ('odd', '***', null, '', null, 'full_refresh', 'local', '{"a": 1}', null, null, null, '2025-01-06');
insert into dataset_permissions values
    ('u-bob', 'orders', 'read'),
    ('u-bob', 'in.c-old.*', 'read'),
    ('u-bob', 'visits', 'none'),
    ('u-bob', 'finance', 'read'),
    ('u-gone', 'orders', 'read'),
    ('u-eve', 'web.*', null);
"""


def make(path: Path, *statements: str) -> Path:
    """Write a file as the reference system's DuckDB did: no options at all."""
    with duckdb.connect(str(path)) as con:
        for statement in statements:
            con.execute(statement)
    return path


def make_unclosed(path: Path, *statements: str) -> Path:
    """Write a file whose last changes are still in its log, as a killed process leaves it."""
    living = path.with_name("living.duckdb")
    with duckdb.connect(str(living)) as con:
        con.execute("set checkpoint_threshold = '1GB'")
        con.execute(statements[0])
        con.execute("checkpoint")
        for statement in statements[1:]:
            con.execute(statement)
        for suffix in ("", ".wal"):
            path.with_name(path.name + suffix).write_bytes(living.with_name(living.name + suffix).read_bytes())
    return path
