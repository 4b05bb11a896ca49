-- The reference system's version 3: every table that was there becomes public, as its own migration made it.
alter table table_registry add column if not exists is_public boolean default true;

create table if not exists access_requests (
    id varchar primary key, user_id varchar not null, user_email varchar not null, table_id varchar not null,
    reason text, status varchar default 'pending', reviewed_by varchar, reviewed_at timestamp, created_at timestamp
);
