-- The current schema, for a new state: exactly what all steps make of an empty file, in a fifth of their time.
create table schema_version (version integer not null, applied_at timestamp default current_timestamp);

-- What the reference system has and this one keeps.
create table sync_state (
    table_id varchar primary key, last_sync timestamp, rows bigint, file_size_bytes bigint,
    uncompressed_size_bytes bigint, columns integer, hash varchar, status varchar default 'ok', error varchar
);
create table sync_history (
    id varchar primary key, table_id varchar not null, synced_at timestamp not null, rows bigint,
    duration_ms integer, status varchar, error varchar
);
create table user_sync_settings (
    user_id varchar, dataset varchar, enabled boolean default false, table_mode varchar default 'all', tables json,
    updated_at timestamp, primary key (user_id, dataset)
);
create table knowledge_items (
    id varchar primary key, title varchar not null, content varchar, category varchar, tags json,
    status varchar default 'pending', contributors json, source_user varchar, audience varchar,
    created_at timestamp, updated_at timestamp
);
create table knowledge_votes (
    item_id varchar, user_id varchar, vote integer, voted_at timestamp, primary key (item_id, user_id)
);
create table telegram_links (user_id varchar primary key, chat_id bigint not null, linked_at timestamp);
create table pending_codes (code varchar primary key, chat_id bigint not null, created_at timestamp not null);
create table script_registry (
    id varchar primary key, name varchar not null, owner varchar, schedule varchar, source varchar not null,
    deployed_at timestamp, last_run timestamp, last_status varchar
);
create table table_profiles (table_id varchar primary key, profile json not null, profiled_at timestamp);

create table _edits (id varchar primary key, "at" timestamp not null);
create table bootstrap (user_id varchar not null, "at" timestamp not null);
create table seeded_admins (email varchar primary key, user_id varchar not null, "at" timestamp not null);
create table audit_log (
    id varchar primary key, timestamp timestamp not null, user_id varchar, action varchar not null, resource varchar,
    params json, result varchar, duration_ms integer, request_id varchar, caller varchar, email varchar,
    token_id varchar, client_address varchar, client_kind varchar
);

create table users (
    id varchar primary key, email varchar unique not null, name varchar, role varchar not null default 'analyst',
    password_hash varchar, created_at timestamp, updated_at timestamp, active boolean not null default true,
    sessions_valid_from timestamp, password_changed_at timestamp
);
create table identities (user_id varchar not null, issuer varchar not null, subject varchar not null, "at" timestamp not null);
create table groups (
    id varchar primary key, name varchar unique not null, created_at timestamp not null, created_by varchar
);

-- Without an index: see step 5.
create table group_members (
    group_id varchar not null, user_id varchar not null, added_at timestamp, added_by varchar
);
create table tokens (
    id varchar not null, user_id varchar not null, name varchar, sha256 varchar not null, prefix varchar,
    created_at timestamp, expires_at timestamp not null, revoked_at timestamp, created_by varchar, scopes json
);
create table revoked_sessions (
    id varchar primary key, user_id varchar not null, expires_at timestamp not null, revoked_at timestamp not null
);
create table grants (
    id varchar not null, user_id varchar, group_id varchar, table_uuid varchar, source varchar, bucket varchar,
    created_at timestamp, created_by varchar
);
create table access_requests (
    id varchar primary key, user_id varchar not null, user_email varchar not null, table_id varchar not null,
    reason varchar, status varchar default 'pending', reviewed_by varchar, reviewed_at timestamp, created_at timestamp,
    answer varchar, table_uuid varchar
);

create table sources (
    name varchar primary key, type varchar not null, config json not null, excluded json not null,
    created_at timestamp not null, created_by varchar, updated_at timestamp not null, sync_schedule varchar
);
create table table_registry (
    id varchar primary key, uuid varchar not null, source varchar not null, name varchar not null,
    source_table varchar not null, bucket varchar, description varchar, query_mode varchar not null,
    sync_strategy varchar not null, primary_key json not null, cursor_column varchar, sync_schedule varchar,
    profile_after_sync boolean not null, is_public boolean not null, server_only boolean not null,
    options json not null, folder varchar, registered_by varchar, registered_at timestamp not null,
    updated_at timestamp not null
);
create table withdrawn (uuid varchar not null, id varchar not null, "at" timestamp not null);

create table imported (kind varchar not null, key varchar not null, "at" timestamp not null);
create table migrated_permissions (user_id varchar, dataset varchar, access varchar, reason varchar not null);
