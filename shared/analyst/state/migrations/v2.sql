-- The schema as the reference system has it in its version 2.
create table if not exists schema_version (version integer not null, applied_at timestamp default current_timestamp);

create table if not exists users (
    id varchar primary key, email varchar unique not null, name varchar, role varchar default 'analyst',
    password_hash varchar, setup_token varchar, setup_token_created timestamp, reset_token varchar,
    reset_token_created timestamp, created_at timestamp, updated_at timestamp
);
create table if not exists sync_state (
    table_id varchar primary key, last_sync timestamp, rows bigint, file_size_bytes bigint,
    uncompressed_size_bytes bigint, columns integer, hash varchar, status varchar default 'ok', error text
);
create table if not exists sync_history (
    id varchar primary key, table_id varchar not null, synced_at timestamp not null, rows bigint,
    duration_ms integer, status varchar, error varchar
);
create table if not exists user_sync_settings (
    user_id varchar, dataset varchar, enabled boolean default false, table_mode varchar default 'all', tables json,
    updated_at timestamp, primary key (user_id, dataset)
);
create table if not exists knowledge_items (
    id varchar primary key, title varchar not null, content text, category varchar, tags json,
    status varchar default 'pending', contributors json, source_user varchar, audience varchar,
    created_at timestamp, updated_at timestamp
);
create table if not exists knowledge_votes (
    item_id varchar, user_id varchar, vote integer, voted_at timestamp, primary key (item_id, user_id)
);
create table if not exists audit_log (
    id varchar primary key, timestamp timestamp not null, user_id varchar, action varchar not null, resource varchar,
    params json, result varchar, duration_ms integer
);
create table if not exists telegram_links (user_id varchar primary key, chat_id bigint not null, linked_at timestamp);
create table if not exists pending_codes (code varchar primary key, chat_id bigint not null, created_at timestamp not null);
create table if not exists script_registry (
    id varchar primary key, name varchar not null, owner varchar, schedule varchar, source text not null,
    deployed_at timestamp, last_run timestamp, last_status varchar
);
create table if not exists table_registry (
    id varchar primary key, name varchar not null, source_type varchar, bucket varchar, source_table varchar,
    sync_strategy varchar default 'full_refresh', query_mode varchar default 'local', sync_schedule varchar,
    profile_after_sync boolean default true, primary_key varchar, folder varchar, description text,
    registered_by varchar, registered_at timestamp
);
create table if not exists table_profiles (table_id varchar primary key, profile json not null, profiled_at timestamp);
create table if not exists dataset_permissions (
    user_id varchar, dataset varchar, access varchar default 'read', primary key (user_id, dataset)
);

-- A file of version 1 has a registry with fewer columns.
alter table table_registry add column if not exists source_type varchar;
alter table table_registry add column if not exists bucket varchar;
alter table table_registry add column if not exists source_table varchar;
alter table table_registry add column if not exists query_mode varchar default 'local';
alter table table_registry add column if not exists sync_schedule varchar;
alter table table_registry add column if not exists profile_after_sync boolean default true;
