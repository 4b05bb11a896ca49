-- Sources with names, registrations with an identity of their own, groups, tokens, and grants in explicit fields.
-- The temporary table `renamed` says what each registered table is called from now on (see `renaming.py`).

create table _edits (id varchar primary key, "at" timestamp not null);
create table bootstrap (user_id varchar not null, "at" timestamp not null);
alter table audit_log add column request_id varchar;

-- Users: e-mails in lower case, each once. Of two accounts that differ only in case, the one that may do most (then
-- the older one) stays; the others get their id behind the address and can't sign in.
create table old_users as from users;
drop table users;
create table users (
    id varchar primary key, email varchar unique not null, name varchar, role varchar not null default 'analyst',
    password_hash varchar, setup_token varchar, setup_token_created timestamp, reset_token varchar,
    reset_token_created timestamp, created_at timestamp, updated_at timestamp,
    active boolean not null default true, sessions_valid_from timestamp
);
insert into users
select
    id, address || case when place = 1 then '' else '#' || id end, name, known_role, password_hash,
    setup_token, setup_token_created, reset_token, reset_token_created, created_at, updated_at, place = 1, null
from (
    select
        *, case when role in ('viewer', 'analyst', 'km_admin', 'admin') then role else 'viewer' end as known_role,
        row_number() over (
            partition by address
            order by list_position(['admin', 'km_admin', 'analyst', 'viewer'], known_role), created_at nulls last, id
        ) as place
    from (
        -- only plain ASCII is lowered: beyond it there are characters whose lower case is a letter of another address
        select *, case when length(email) = strlen(email) then lower(trim(email)) else trim(email) end as address
        from old_users
    )
)
order by created_at nulls last, id;
drop table old_users;

create table groups (
    id varchar primary key, name varchar unique not null, created_at timestamp not null, created_by varchar
);
create table group_members (
    group_id varchar, user_id varchar, added_at timestamp not null, added_by varchar, primary key (group_id, user_id)
);
create table tokens (
    id varchar primary key, user_id varchar not null, name varchar not null, sha256 varchar unique not null,
    prefix varchar not null, created_at timestamp not null, expires_at timestamp not null, revoked_at timestamp,
    created_by varchar
);

-- Sources: one of each type that the registry had.
create table sources (
    name varchar primary key, type varchar not null, config json not null, excluded json not null,
    created_at timestamp not null, created_by varchar, updated_at timestamp not null
);
insert into sources
select source, any_value(type), '{}', '[]', getvariable('now'), null, getvariable('now')
from renamed group by source order by source;

-- The registry: `<source>.<name>` is what a table is called, the uuid what it is.
create table old_registry as from table_registry;
drop table table_registry;
create table table_registry (
    id varchar primary key, uuid varchar not null, source varchar not null, name varchar not null,
    source_table varchar not null, bucket varchar, description varchar, query_mode varchar not null,
    sync_strategy varchar not null, primary_key json not null, cursor_column varchar, sync_schedule varchar,
    profile_after_sync boolean not null, is_public boolean not null, server_only boolean not null,
    options json not null, folder varchar, registered_by varchar, registered_at timestamp not null,
    updated_at timestamp not null
);
insert into table_registry
select
    n.id, n.uuid, n.source, n.name, coalesce(o.source_table, o.name), nullif(o.bucket, ''), o.description,
    case when o.query_mode in ('remote', 'materialized') then o.query_mode else 'local' end,
    case when o.sync_strategy = 'incremental' and n.primary_key <> '[]' then 'incremental' else 'full_refresh' end,
    n.primary_key, null, o.sync_schedule, coalesce(o.profile_after_sync, true), coalesce(o.is_public, true), false,
    '{}', o.folder, o.registered_by, coalesce(o.registered_at, getvariable('now')), getvariable('now')
from old_registry o join renamed n on n.old_id = o.id
order by o.registered_at nulls last, n.id;
drop table old_registry;

-- Grants: what a permission meant, in fields. A permission that meant nothing is kept aside, not guessed at.
create table grants (
    id varchar primary key, user_id varchar, group_id varchar, table_uuid varchar, source varchar, bucket varchar,
    created_at timestamp not null, created_by varchar
);
create temp table meant as
select p.user_id, p.dataset, t.uuid as table_uuid, null as source, null as bucket
from dataset_permissions p join renamed n on n.old_id = p.dataset join table_registry t on t.id = n.id
where p.access is distinct from 'none' and p.user_id in (select id from users)
union all
select distinct p.user_id, p.dataset, null, t.source, t.bucket
from dataset_permissions p join table_registry t on p.dataset = t.bucket || '.*'
where p.access is distinct from 'none' and p.user_id in (select id from users);

insert into grants
select uuid(), user_id, null, table_uuid, source, bucket, getvariable('now'), null
from meant order by user_id, dataset, source;

create table migrated_permissions (user_id varchar, dataset varchar, access varchar, reason varchar not null);
insert into migrated_permissions
select
    user_id, dataset, access,
    case
        when access = 'none' then 'it grants nothing'
        when user_id not in (select id from users) then 'there is no such user'
        else 'there is no such table or bucket'
    end
from dataset_permissions p
where not exists (select 1 from meant m where m.user_id = p.user_id and m.dataset = p.dataset)
order by user_id, dataset;
drop table meant;
drop table dataset_permissions;

update access_requests set table_id = renamed.id from renamed where renamed.old_id = access_requests.table_id;

insert into audit_log (id, timestamp, action, resource, params, result)
select
    uuid(), getvariable('now'), 'state.migrate', 'state',
    json_object(
        'to', 4,
        'tables', (select count(*) from table_registry),
        'grants', (select count(*) from grants),
        'permissions_without_meaning', (select count(*) from migrated_permissions),
        'deactivated_doubles', (select count(*) from users where not active)
    ),
    'ok'
where getvariable('migrated_from') > 0;
