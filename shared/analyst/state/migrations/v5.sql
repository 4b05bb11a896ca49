-- Sign-in: scopes of tokens, sessions that were ended, what an administrator answered to a request for access, and
-- where an audited act came from. The one-time tokens of the reference system lay in plain text: none is taken over.
-- Sources have schedules, for their tables that have none.

alter table users drop column setup_token;
alter table users drop column setup_token_created;
alter table users drop column reset_token;
alter table users drop column reset_token_created;
alter table users add column password_changed_at timestamp;

alter table tokens add column scopes json;
update tokens set scopes = '["read", "query", "sync", "admin"]';

create table revoked_sessions (
    id varchar primary key, user_id varchar not null, expires_at timestamp not null, revoked_at timestamp not null
);

alter table access_requests add column answer varchar;

-- E-mails that the instance's settings made administrators of, each once.
create table seeded_admins (email varchar primary key, user_id varchar not null, "at" timestamp not null);

alter table audit_log add column caller varchar;
alter table audit_log add column email varchar;
alter table audit_log add column token_id varchar;
alter table audit_log add column client_address varchar;
alter table audit_log add column client_kind varchar;

alter table sources add column sync_schedule varchar;

-- What grows with every person has no index: an edit would write all of it anew. Edits come one after the other, so
-- their own look before they insert is enough.
create table unindexed as from grants; drop table grants; alter table unindexed rename to grants;
create table unindexed as from tokens; drop table tokens; alter table unindexed rename to tokens;
create table unindexed as from group_members; drop table group_members; alter table unindexed rename to group_members;
alter table grants alter column id set not null;
alter table tokens alter column id set not null;
alter table tokens alter column user_id set not null;
alter table tokens alter column sha256 set not null;
alter table tokens alter column expires_at set not null;
alter table group_members alter column group_id set not null;
alter table group_members alter column user_id set not null;

-- What an import brought, or found here: a repeated one brings nothing back that was taken away since.
create table imported (kind varchar not null, key varchar not null, "at" timestamp not null);
